"""Damage, hostile files and ports, full disks, kills and load: tried by the hundred, a few of each by default."""
