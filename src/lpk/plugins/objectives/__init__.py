"""Calibration objectives."""
