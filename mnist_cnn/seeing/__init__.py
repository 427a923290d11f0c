"""What a person looks at: pictures of runs and networks, and the pages made of them."""
