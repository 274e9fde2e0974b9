"""Observe, plan, act: one ServedModel at a time, whatever set it off."""
