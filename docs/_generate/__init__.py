"""What the site takes from the code: labels, certificates, evidence, reference pages. Each module returns Markdown."""
