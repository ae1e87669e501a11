"""What checks left behind, as a report: SARIF, JUnit's XML, or a report as it is."""
