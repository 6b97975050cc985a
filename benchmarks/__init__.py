"""What is run and how it is measured: experiments, data sets, the plan, the runner, the command line."""
