package main

import (
	"errors"

	"github.com/spf13/cobra"
)

func newCaptureCmd(*streams) *cobra.Command {
	return &cobra.Command{
		Use:   "capture",
		Short: "Collect what a trace would read into a snapshot",
		RunE: func(*cobra.Command, []string) error {
			return errors.New("capture: not built in yet")
		},
	}
}
