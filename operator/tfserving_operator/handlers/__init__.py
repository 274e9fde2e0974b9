"""The edge to kopf and to probes: it turns what happens into keys of the queue, and starts and stops the rest."""
