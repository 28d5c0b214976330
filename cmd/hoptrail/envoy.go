package main

import (
	"errors"

	"github.com/spf13/cobra"
)

func newEnvoyCmd(*streams) *cobra.Command {
	return &cobra.Command{
		Use:   "envoy",
		Short: "Evaluate requests against config_dump files",
		RunE: func(*cobra.Command, []string) error {
			return errors.New("envoy: not built in yet")
		},
	}
}
