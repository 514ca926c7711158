"""Pictures of a run (`plots`) and the log they are drawn from (`runlog`, which needs no matplotlib)."""
