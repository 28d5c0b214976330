package main

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/hoptrail/hoptrail/internal/report"
	"github.com/hoptrail/hoptrail/trace"
)

// traceOptions are the flags of a trace.
type traceOptions struct {
	from        string
	headers     []string
	method      string
	sni         string
	sourceIP    string
	resolve     []string
	httpVersion string
	clientCert  bool

	snapshot string
	cluster  clusterOptions

	outputOptions
}

// outputOptions are the flags that say what becomes of a trace.
type outputOptions struct {
	output  string
	color   string
	record  string
	timeout time.Duration

	ascii   bool
	privacy bool
	mouse   bool
	every   time.Duration
}

// clusterOptions are kubectl's flags for choosing a cluster and a user.
type clusterOptions struct {
	kubeconfig string
	context    string
	namespace  string
	as         string
	asGroups   []string

	live liveFlags
}

// outputs are the values of -o, in the order help shows them.
var outputs = []string{"tui", "text", "wide", "json", "yaml", "markdown", "name"}

func (o *clusterOptions) addFlags(fs *pflag.FlagSet) {
	fs.StringVar(&o.kubeconfig, "kubeconfig", "", "path of the kubeconfig `file`")
	fs.StringVar(&o.context, "context", "", "`name` of the kubeconfig context")
	fs.StringVarP(&o.namespace, "namespace", "n", "", "`namespace` of short names in --from pod:NAME")
	fs.StringVar(&o.as, "as", "", "`user` to impersonate")
	fs.StringArrayVar(&o.asGroups, "as-group", nil, "`group` to impersonate; may be repeated")
	o.live.addFlags(fs)
}

func (o *traceOptions) addFlags(cmd *cobra.Command) {
	fs := cmd.Flags()
	fs.SortFlags = false
	fs.StringVar(&o.from, "from", "external", "vantage the request is sent from: external, node:NAME or pod:NS/NAME")
	fs.StringArrayVarP(&o.headers, "header", "H", nil, "request header `'name: value'`; may be repeated")
	fs.StringVarP(&o.method, "request", "X", "", "request `method` (default GET; POST for grpc)")
	fs.StringVar(&o.sni, "sni", "", "TLS server `name` (default the target's host)")
	fs.StringVar(&o.sourceIP, "source-ip", "", "address of the client, `IP[:PORT]`")
	fs.StringArrayVar(&o.resolve, "resolve", nil, "use an address for a name, `HOST:PORT:ADDR[:PORT]`, as curl does; may be repeated")
	fs.StringVar(&o.httpVersion, "http-version", "", "HTTP `version` of the client: 1.0, 1.1 or 2")
	fs.BoolVar(&o.clientCert, "client-cert", false, "the client presents a certificate that the server accepts (TLS only; default it has none)")
	fs.StringVar(&o.snapshot, "snapshot", "", "trace on a snapshot, a `folder or .tar.gz`, instead of a cluster")
	o.outputOptions.addFlags(cmd)
	o.cluster.addFlags(fs)
	o.complete(cmd)
}

func (o *outputOptions) addFlags(cmd *cobra.Command) {
	fs := cmd.Flags()
	fs.StringVar(&o.record, "record", "", "save everything the trace read into a `folder or .tar.gz`")
	fs.DurationVar(&o.timeout, "timeout", 60*time.Second, "time limit of the whole trace, 0 for none")
	fs.StringVarP(&o.output, "output", "o", "", "output `format`: "+strings.Join(outputs, ", ")+" (default tui on a terminal, else text)")
	fs.StringVar(&o.color, "color", "auto", "colour `when`: auto, always or never")
	fs.BoolVar(&o.privacy, "privacy", false, "mask addresses, hosts, nodes and header values")
	fs.BoolVar(&o.ascii, "ascii", false, "draw the terminal UI with ASCII alone")
	fs.BoolVar(&o.mouse, "mouse", false, "let the terminal UI take the mouse")
	fs.DurationVar(&o.every, "every", 0, "trace again in the terminal UI, this long after the last trace ended")
	_ = cmd.RegisterFlagCompletionFunc("output", cobra.FixedCompletions(outputs, cobra.ShellCompDirectiveNoFileComp))
	_ = cmd.RegisterFlagCompletionFunc("color", cobra.FixedCompletions([]string{"auto", "always", "never"}, cobra.ShellCompDirectiveNoFileComp))
}

func notNegative(flag string, d time.Duration) error {
	if d < 0 {
		return fmt.Errorf("--%s %s: want a duration, such as 30s", flag, d)
	}
	return nil
}

func newTraceCmd(s *streams) *cobra.Command {
	opts := &traceOptions{}
	cmd := &cobra.Command{
		Use:   "trace TARGET",
		Short: "Walk the path of one request (`hoptrail TARGET` is short for it)",
		Long: `trace walks the path of one request hop by hop and reports what each hop decided.

Exit status: 0 reachable; 1 unreachable, or some branches are; 2 bad usage or
input; 3 could not be told; 130 interrupted.`,
		Args: cobra.ArbitraryArgs,
		RunE: func(cmd *cobra.Command, args []string) error {
			return runTrace(cmd, s, opts, args)
		},
	}
	opts.addFlags(cmd)
	return cmd
}

// target puts the argument and the flags together.
func (o *traceOptions) target(raw string) (trace.Target, error) {
	t, err := trace.ParseTarget(raw)
	if err != nil {
		return t, err
	}
	if t.From, err = o.vantage(); err != nil {
		return t, err
	}
	for _, h := range o.headers {
		name, value, ok := strings.Cut(h, ":")
		name = strings.TrimSpace(name)
		if !ok || !token(name) || strings.ContainsAny(value, "\r\n\x00") {
			return t, fmt.Errorf("-H %q: want 'name: value'", h)
		}
		t.Headers = append(t.Headers, trace.Header{Name: name, Value: strings.TrimSpace(value)})
	}
	if o.method != "" {
		if !t.HTTP() {
			return t, fmt.Errorf("-X %s: %s is a connection, not an HTTP request", o.method, raw)
		}
		if !token(o.method) {
			return t, fmt.Errorf("-X %q is no method", o.method)
		}
		t.Method = strings.ToUpper(o.method)
	}
	t.SNI = o.sni
	if o.sourceIP != "" {
		if _, err := netip.ParseAddr(o.sourceIP); err != nil {
			if _, err := netip.ParseAddrPort(o.sourceIP); err != nil {
				return t, fmt.Errorf("--source-ip %q: want IP or IP:PORT", o.sourceIP)
			}
		}
		t.SourceIP = o.sourceIP
	}
	for _, r := range o.resolve {
		key, addr, err := trace.ParseResolve(r)
		if err != nil {
			return t, fmt.Errorf("--%w", err)
		}
		if t.Resolve == nil {
			t.Resolve = map[string]string{}
		}
		t.Resolve[key] = addr
	}
	if o.httpVersion != "" && !slices.Contains([]string{"1.0", "1.1", "2"}, o.httpVersion) {
		return t, fmt.Errorf("--http-version %q: want 1.0, 1.1 or 2", o.httpVersion)
	}
	t.HTTPVersion = o.httpVersion
	if o.clientCert && !t.TLS() {
		return t, fmt.Errorf("--client-cert: %s is not TLS", raw)
	}
	t.ClientCert = o.clientCert
	return t, nil
}

// token says whether s may be a method or the name of a header (RFC 9110, 5.6.2).
func token(s string) bool {
	return s != "" && !strings.ContainsFunc(s, func(r rune) bool {
		return r <= ' ' || r >= 0x7f || strings.ContainsRune(`"(),/:;<=>?@[\]{}`, r)
	})
}

// vantage checks --from. pod:NAME is in the namespace of -n; where that is not
// given, the kubeconfig's is filled in later (see [source.home]).
func (o *traceOptions) vantage() (string, error) {
	kind, rest, _ := strings.Cut(o.from, ":")
	switch {
	case o.from == "external":
		return o.from, nil
	case kind == "node" && rest != "":
		return o.from, nil
	case kind == "pod" && rest != "":
		ns, name, ok := strings.Cut(rest, "/")
		switch {
		case ok && ns != "" && name != "" && !strings.Contains(name, "/"):
			return o.from, nil
		case !ok && o.cluster.namespace != "":
			return "pod:" + o.cluster.namespace + "/" + rest, nil
		case !ok && o.snapshot == "":
			return o.from, nil
		}
	}
	return "", fmt.Errorf("--from %q: want external, node:NAME or pod:NAMESPACE/NAME", o.from)
}

// format checks -o and the flags beside it; "" is the terminal UI.
func (o *outputOptions) format(s *streams) (report.Format, error) {
	if err := notNegative("timeout", o.timeout); err != nil {
		return "", err
	}
	if err := notNegative("every", o.every); err != nil {
		return "", err
	}
	if !slices.Contains([]string{"auto", "always", "never"}, o.color) {
		return "", fmt.Errorf("--color %q: want auto, always or never", o.color)
	}
	switch {
	case o.output == "" && s.canTUI():
		return "", nil
	case o.output == "":
		return report.Text, nil
	case o.output == "tui" && !s.canTUI():
		return "", errors.New("-o tui: standard input and output are not a terminal; run with -o text")
	case o.output == "tui":
		return "", nil
	case slices.Contains(outputs, o.output):
		return report.Format(o.output), nil
	}
	return "", fmt.Errorf("-o %q: want one of %s", o.output, strings.Join(outputs, ", "))
}

// oneTarget checks that TARGET was given, and once.
func oneTarget(cmd *cobra.Command, args []string) error {
	switch len(args) {
	case 1:
		return nil
	case 0:
		return fmt.Errorf("no TARGET was given (see `%s --help`)", cmd.CommandPath())
	}
	return fmt.Errorf("one TARGET is wanted, got %d: %s", len(args), strings.Join(args, " "))
}

func runTrace(cmd *cobra.Command, s *streams, opts *traceOptions, args []string) (err error) {
	if err := oneTarget(cmd, args); err != nil {
		return err
	}
	target, err := opts.target(args[0])
	if err != nil {
		like := cmd.Root().SuggestionsFor(args[0])
		if cmd.Parent() == nil && len(like) > 0 && args[0] != "" && like[0][0] == args[0][0] {
			return fmt.Errorf("%w; did you mean `%s %s`?", err, cmd.CommandPath(), like[0])
		}
		return err
	}
	if err := opts.cluster.live.check(); err != nil {
		return err
	}
	format, err := opts.format(s)
	if err != nil {
		return err
	}
	src, err := openSource(s, opts, format == "")
	if err != nil {
		return err
	}
	defer func() { err = closing(src, err) }()
	src.login(cmd.Context())
	target.From = src.home(target.From)
	return ask(cmd.Context(), s, &opts.outputOptions, src, target)
}
