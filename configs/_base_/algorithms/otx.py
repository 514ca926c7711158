"""OTX, the semi-supervised training of OpenVINO training extensions."""

model = dict(algorithm=dict(type="OTX", minimum=0.5))
