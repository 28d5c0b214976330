package main

import (
	"errors"

	"github.com/spf13/cobra"
)

func newDemoCmd(*streams) *cobra.Command {
	return &cobra.Command{
		Use:   "demo [NAME[/CASE]]",
		Short: "Trace a world that is in the binary",
		Args:  cobra.MaximumNArgs(1),
		RunE: func(*cobra.Command, []string) error {
			return errors.New("demo: not built in yet")
		},
	}
}
