"""Model -> calibration -> scorer -> searcher <-> evaluator -> mask -> checkpoint."""
