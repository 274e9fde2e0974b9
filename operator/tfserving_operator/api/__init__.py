"""The API of the operator: one module a CRD kind, and the words its conditions use."""
