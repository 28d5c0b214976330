package main

import (
	"errors"

	"github.com/spf13/cobra"
)

func newIptablesCmd(*streams) *cobra.Command {
	return &cobra.Command{
		Use:   "iptables",
		Short: "Evaluate packets against iptables-save files",
		RunE: func(*cobra.Command, []string) error {
			return errors.New("iptables: not built in yet")
		},
	}
}
