package main

import (
	"errors"

	"github.com/spf13/cobra"
)

func newExplainCmd(*streams) *cobra.Command {
	return &cobra.Command{
		Use:   "explain",
		Short: "Explain a finding code, a response flag or a term",
		RunE: func(*cobra.Command, []string) error {
			return errors.New("explain: not built in yet")
		},
	}
}
