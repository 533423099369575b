"""The reference index: data kept from the training images, used to detect out-of-distribution images."""
