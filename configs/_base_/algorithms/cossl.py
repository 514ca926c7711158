"""CoSSL (Fan et al. 2022, arXiv 2112.04564) over FixMatch."""

model = dict(algorithm=dict(type="CoSSL", base=dict(type="FixMatch", threshold=0.95), low=0.6, warmup=0.8))
