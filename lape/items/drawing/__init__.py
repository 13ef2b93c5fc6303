"""What figures share: style, heatmaps, lines, panels."""
