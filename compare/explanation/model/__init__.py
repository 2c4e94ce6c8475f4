"""The models: how they are paired, their first weights, and their layers one by one."""
