"""Reports that may come during tests."""
