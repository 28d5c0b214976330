//go:build !unix

package main

import "os"

// mapFile returns the content of a file, which must not be changed.
func mapFile(name string) ([]byte, error) { return os.ReadFile(name) }
