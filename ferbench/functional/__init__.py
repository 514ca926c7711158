"""Pure maths: tensors in, tensors out; no state, no config, no distributed calls."""
