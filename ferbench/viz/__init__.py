"""Pictures of a run (`plots`) and the log they are drawn from (`runlog`, `logline`, which need no matplotlib)."""
