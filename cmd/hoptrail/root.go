package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"

	"github.com/spf13/cobra"

	"github.com/hoptrail/hoptrail/internal/sanitize"
)

// Exit statuses; scripts depend on them.
const (
	exitReachable    = 0   // the request gets there
	exitUnreachable  = 1   // it does not, or not on every branch
	exitUsage        = 2   // bad usage, bad input, or the tool failed
	exitUndetermined = 3   // could not be told
	exitInterrupted  = 130 // ctrl-c
)

// exitError is an error that ends the program with its own status. A nil err
// ends it without a word: the report on stdout has said everything.
type exitError struct {
	code int
	err  error
}

func (e *exitError) Error() string {
	if e.err == nil {
		return fmt.Sprintf("exit status %d", e.code)
	}
	return e.err.Error()
}

func (e *exitError) Unwrap() error { return e.err }

// run executes the program with its arguments, argv[0] included, and returns
// the exit status. An interrupt cancels the command's context; a second one
// ends the process at once.
func run(args []string, s *streams) int {
	ends := []os.Signal{os.Interrupt, syscall.SIGTERM}
	if !signal.Ignored(syscall.SIGHUP) { // as under nohup
		ends = append(ends, syscall.SIGHUP)
	}
	ctx, stop := signal.NotifyContext(context.Background(), ends...)
	defer stop()
	context.AfterFunc(ctx, stop)
	return runContext(ctx, args, s)
}

func runContext(ctx context.Context, args []string, s *streams) int {
	s.done = ctx.Done()
	root := newRootCmd(s)
	if len(args) > 0 {
		asPlugin(root, filepath.Base(args[0]))
		args = args[1:]
	}
	root.SetArgs(args)
	err := root.ExecuteContext(ctx)
	if err == nil {
		return exitReachable
	}
	var exit *exitError
	switch {
	case ctx.Err() != nil:
		fmt.Fprintln(s.err, "hoptrail: interrupted")
		return exitInterrupted
	case errors.As(err, &exit):
		if exit.err != nil {
			fmt.Fprintln(s.err, "hoptrail: "+oneLine(exit.err.Error()))
		}
		return exit.code
	default:
		fmt.Fprintln(s.err, "hoptrail: "+oneLine(err.Error()))
		return exitUsage
	}
}

// oneLine makes a message one line that is safe on a terminal.
func oneLine(msg string) string {
	return sanitize.Line(strings.Join(strings.Fields(msg), " "))
}

// asPlugin shows the program by the name it was called: installed as
// kubectl-hoptrail it is `kubectl hoptrail`.
func asPlugin(root *cobra.Command, argv0 string) {
	argv0 = strings.TrimSuffix(argv0, ".exe")
	if rest, ok := strings.CutPrefix(argv0, "kubectl-"); ok {
		root.Annotations = map[string]string{
			cobra.CommandDisplayNameAnnotation: "kubectl " + strings.ReplaceAll(rest, "_", "-"),
		}
	}
}

// newRootCmd returns the whole command tree on these streams.
func newRootCmd(s *streams) *cobra.Command {
	opts := &traceOptions{}
	root := &cobra.Command{
		Use:   "hoptrail TARGET",
		Short: "Where did the request go, and where did it stop?",
		Long: `hoptrail walks the path of one request through Kubernetes and Istio/Envoy, hop
by hop, and says at each hop what was decided and on what evidence.

TARGET is a URL (http, https, grpc, tcp, tls) or IP:port.`,
		Example: `  # the walk, on a world that is in the binary
  hoptrail demo

  # a request from outside, evaluated against a saved snapshot
  hoptrail http://simple.baihl.io:31373/simple/httpserver --snapshot ticket.tar.gz

  # the same for a script
  hoptrail http://simple.baihl.io/ --snapshot ticket.tar.gz -o json`,
		SilenceUsage:               true,
		SilenceErrors:              true,
		SuggestionsMinimumDistance: 2,
		Args:                       cobra.ArbitraryArgs,
		Version:                    version(),
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) == 0 && cmd.Flags().NFlag() == 0 {
				return cmd.Help()
			}
			return runTrace(cmd, s, opts, args)
		},
	}
	opts.addFlags(root)
	root.SetIn(s.in)
	root.SetOut(s.out)
	root.SetErr(s.err)
	root.SetVersionTemplate("hoptrail {{.Version}}\n")
	root.SetFlagErrorFunc(func(cmd *cobra.Command, err error) error {
		return fmt.Errorf("%w (see `%s --help`)", err, cmd.CommandPath())
	})
	root.AddCommand(
		newTraceCmd(s),
		newDemoCmd(s),
		newIptablesCmd(s),
		newEnvoyCmd(s),
		newLogsCmd(s),
		newExplainCmd(s),
		newCaptureCmd(s),
		newVersionCmd(s),
	)
	root.InitDefaultCompletionCmd()
	for _, c := range root.Commands() {
		if c.Name() == "completion" { // cobra's own takes any word for a request for help
			c.Short = "Print the script that completes hoptrail's commands in a shell"
			c.RunE = func(cmd *cobra.Command, _ []string) error { return cmd.Help() }
		}
	}
	return root
}
