"""What breaks bayeslaw: spoilt inputs, and kills at random moments. Outside the quick tests."""
