"""The S3 wire, without input or output: requests to Inputs, Outputs to responses, signatures, errors."""
