"""What is rendered from a ledger: tables, report, draft, proof, references, exports."""
