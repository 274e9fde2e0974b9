"""``tfs``: what people run beside kubectl."""
