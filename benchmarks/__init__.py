"""What the gateway costs, beside nginx on the same machine in the same minute. Figures are printed, never asserted."""
