package main

import (
	"errors"

	"github.com/spf13/cobra"
)

func newLogsCmd(*streams) *cobra.Command {
	return &cobra.Command{
		Use:   "logs",
		Short: "Read Envoy access logs",
		RunE: func(*cobra.Command, []string) error {
			return errors.New("logs: not built in yet")
		},
	}
}
