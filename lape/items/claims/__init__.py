"""The papers' sentences as statistics, each with an interval and a verdict for the models at hand."""
