"""All labels of the training part: the upper reference."""

model = dict(algorithm=dict(type="SupervisedOracle"))
