package main

import (
	"bufio"
	"compress/gzip"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/hoptrail/hoptrail/envoyadmin/accesslog"
	"github.com/hoptrail/hoptrail/envoyadmin/explain"
)

// maxDump bounds a config_dump that is read.
const maxDump = 2 << 30

func newLogsCmd(s *streams) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "logs",
		Short: "Read Envoy access logs",
		Args:  cobra.NoArgs,
		RunE:  func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(newLogsParseCmd(s))
	return cmd
}

// logsParseOptions are the flags of logs parse.
type logsParseOptions struct {
	format     string
	configDump string
	listener   string
	onlyAccess bool
}

func newLogsParseCmd(s *streams) *cobra.Command {
	o := &logsParseOptions{}
	cmd := &cobra.Command{
		Use:   "parse [FILE]",
		Short: "Turn access log lines into JSON, one object a line",
		Long: `parse reads an access log (standard input without FILE or with -; gzip is
unpacked) and writes one JSON object for each line. Without --format and
--config-dump the layout is recognised: Envoy's default, Istio's text of every
version, and JSON. What kubectl, CRI, Docker, stern or docker-compose put before a
line is taken off; records wrapped by hand or spread over lines are put together.

A line that is not an access line is {"line":N,"not_access_log":"...","why":"..."}
in its place; --only-access leaves such lines out.

Exit status: 0 some line was an access line, or there was no line; 2 bad usage or
input; 3 no line could be read as one.`,
		Example: `  kubectl logs -n istio-system deploy/istio-ingressgateway | hoptrail logs parse
  hoptrail logs parse access.log --config-dump config_dump.json
  hoptrail logs parse access.log --format '[%START_TIME%] %REQ(:PATH)% %RESPONSE_CODE%'`,
		Args: cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			return o.run(cmd, s, args)
		},
	}
	fs := cmd.Flags()
	fs.StringVar(&o.format, "format", "", "the log's `format`: text with operators, or a JSON object of them")
	fs.StringVar(&o.configDump, "config-dump", "", "take the format from the listeners of this config_dump `file`")
	fs.StringVar(&o.listener, "listener", "", "with --config-dump, only from this listener (`name`, address:port or port)")
	fs.BoolVar(&o.onlyAccess, "only-access", false, "leave out lines that are not access lines")
	cmd.MarkFlagsMutuallyExclusive("format", "config-dump")
	return cmd
}

func (o *logsParseOptions) run(cmd *cobra.Command, s *streams, args []string) error {
	parser, err := o.parser()
	if err != nil {
		return err
	}
	var in io.Reader
	if len(args) == 0 || args[0] == "-" {
		in = s.stdin()
	} else {
		f, err := os.Open(args[0])
		if err != nil {
			return err
		}
		defer f.Close()
		in = f
	}
	in, err = gunzip(in)
	if err != nil {
		return fmt.Errorf("access log: %w", err)
	}
	// Written line by line: the log may be one that is followed.
	enc := json.NewEncoder(s.out)
	enc.SetEscapeHTML(false)
	lines, read := 0, 0
	for e, err := range parser.Read(in) {
		if err != nil {
			return err
		}
		if err := cmd.Context().Err(); err != nil {
			return err
		}
		lines++
		if e.OK() {
			read++
		} else if o.onlyAccess {
			continue
		}
		if err := enc.Encode(lineJSON(e)); err != nil {
			return fmt.Errorf("write: %w", err)
		}
	}
	if lines > 0 && read == 0 {
		return &exitError{code: exitUndetermined, err: errors.New("no line could be read as an access line")}
	}
	return nil
}

// parser returns a parser for the format that the flags name.
func (o *logsParseOptions) parser() (*accesslog.Parser, error) {
	switch {
	case o.format != "":
		f, err := accesslog.Compile(o.format)
		if err != nil {
			return nil, fmt.Errorf("--format: %w", err)
		}
		if unknown := f.Unknown(); len(unknown) > 0 {
			return nil, unknownOperator(unknown[0])
		}
		formats := []*accesslog.Format{f}
		if f.JSON() {
			// It may be text in the shape of JSON, whose values are not escaped.
			if text, err := accesslog.CompileText(strings.TrimSpace(o.format)); err == nil {
				formats = append(formats, text)
			}
		}
		return accesslog.NewParser(formats...), nil
	case o.configDump != "":
		formats, err := o.dumpFormats()
		if err != nil {
			return nil, err
		}
		return accesslog.NewParser(formats...).Detecting(), nil
	case o.listener != "":
		return nil, errors.New("--listener needs --config-dump")
	default:
		return accesslog.NewParser(), nil
	}
}

// unknownOperator refuses a format as Envoy does, which then does not start.
func unknownOperator(op accesslog.Operator) error {
	near := slices.DeleteFunc(explain.Nearest(op.Name, 8), func(s string) bool {
		it, ok := explain.Lookup(s)
		return !ok || it.Kind != explain.Operator
	})
	near = near[:min(len(near), 3)]
	if len(near) == 0 {
		return fmt.Errorf("--format: Envoy has no operator %s", op)
	}
	return fmt.Errorf("--format: Envoy has no operator %s; nearest: %s", op, strings.Join(near, ", "))
}

// dumpFormats returns the formats the config_dump holds.
func (o *logsParseOptions) dumpFormats() ([]*accesslog.Format, error) {
	f, err := os.Open(o.configDump)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	r, err := gunzip(f)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", o.configDump, err)
	}
	dump, err := io.ReadAll(io.LimitReader(r, maxDump+1))
	switch {
	case err != nil:
		return nil, fmt.Errorf("%s: %w", o.configDump, err)
	case len(dump) > maxDump:
		return nil, fmt.Errorf("%s: larger than %d bytes", o.configDump, maxDump)
	}
	loggers, err := accesslog.FromConfigDump(dump)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", o.configDump, err)
	}
	if o.listener != "" {
		loggers = slices.DeleteFunc(loggers, func(l accesslog.Logger) bool {
			return l.Listener != o.listener && l.Address != o.listener && !strings.HasSuffix(l.Address, ":"+o.listener)
		})
	}
	formats := accesslog.Formats(loggers)
	if len(formats) > 0 {
		return formats, nil
	}
	if len(loggers) == 0 {
		return nil, fmt.Errorf("%s: no access log is configured there (hoptrail explain HT9002)", o.configDump)
	}
	var whys []string
	for _, l := range loggers {
		if !slices.Contains(whys, l.Why) {
			whys = append(whys, l.Why)
		}
	}
	return nil, fmt.Errorf("%s: no access log that is in the container's log: %s", o.configDump, strings.Join(whys, "; "))
}

// gunzip unpacks r if it is gzip.
func gunzip(r io.Reader) (io.Reader, error) {
	b := bufio.NewReader(r)
	if magic, err := b.Peek(2); err == nil && magic[0] == 0x1f && magic[1] == 0x8b {
		return gzip.NewReader(b)
	}
	return b, nil
}

// accessLine is an access line as logs parse writes it. What the line does not
// say is left out.
type accessLine struct {
	Line       int            `json:"line,omitempty"`
	Time       string         `json:"time,omitempty"`
	Method     string         `json:"method,omitempty"`
	Authority  string         `json:"authority,omitempty"`
	Path       string         `json:"path,omitempty"`
	Protocol   string         `json:"protocol,omitempty"`
	Status     *int           `json:"status,omitempty"`
	Flags      []responseFlag `json:"flags,omitempty"`
	Details    string         `json:"details,omitempty"`
	DetailsAre string         `json:"details_mean,omitempty"`

	TerminationDetails string `json:"termination_details,omitempty"`
	TransportFailure   string `json:"transport_failure,omitempty"`
	TransportMeans     string `json:"transport_failure_means,omitempty"`

	BytesReceived    *int64 `json:"bytes_received,omitempty"`
	BytesSent        *int64 `json:"bytes_sent,omitempty"`
	DurationMS       *int64 `json:"duration_ms,omitempty"`
	ServiceTimeMS    *int64 `json:"service_time_ms,omitempty"`
	ForwardedFor     string `json:"forwarded_for,omitempty"`
	UserAgent        string `json:"user_agent,omitempty"`
	RequestID        string `json:"request_id,omitempty"`
	UpstreamHost     string `json:"upstream_host,omitempty"`
	UpstreamCluster  string `json:"upstream_cluster,omitempty"`
	UpstreamLocal    string `json:"upstream_local,omitempty"`
	DownstreamLocal  string `json:"downstream_local,omitempty"`
	DownstreamRemote string `json:"downstream_remote,omitempty"`
	ServerName       string `json:"server_name,omitempty"`
	Route            string `json:"route,omitempty"`

	Format    string            `json:"format"`
	Prefix    string            `json:"prefix,omitempty"`
	Extra     string            `json:"extra,omitempty"`
	Operators map[string]string `json:"operators"`
}

// responseFlag is a response flag and what it means.
type responseFlag struct {
	Flag    string `json:"flag"`
	Name    string `json:"name,omitempty"`
	Meaning string `json:"meaning,omitempty"`
}

// otherLine is a line that is not an access line.
type otherLine struct {
	Line int    `json:"line"`
	Raw  string `json:"not_access_log"`
	Why  string `json:"why"`
}

// lineJSON is what logs parse writes for an entry.
func lineJSON(e accesslog.Entry) any {
	if !e.OK() {
		return otherLine{e.Line, e.Raw, e.Why}
	}
	l := accessLine{
		Line: e.Line, Method: e.Method(), Authority: e.Authority(), Path: e.Path(), Protocol: e.Protocol(),
		Details: e.Details(), TerminationDetails: e.TerminationDetails(), TransportFailure: e.TransportFailure(),
		ForwardedFor: e.ForwardedFor(), UserAgent: e.UserAgent(), RequestID: e.RequestID(),
		UpstreamHost: e.UpstreamHost(), UpstreamCluster: e.UpstreamCluster(), UpstreamLocal: e.UpstreamLocal(),
		DownstreamLocal: e.DownstreamLocal(), DownstreamRemote: e.DownstreamRemote(), ServerName: e.ServerName(), Route: e.Route(),
		Format: e.Format.Name(), Prefix: e.Prefix, Extra: e.Extra, Operators: e.Fields(),
	}
	if t := e.Start(); !t.IsZero() {
		l.Time = t.UTC().Format(time.RFC3339Nano)
	}
	said := func(operator string) bool {
		v, ok := e.Value(operator)
		return ok && v != "-" && v != ""
	}
	if said("RESPONSE_CODE") {
		status := e.Status()
		l.Status = &status
	}
	for _, n := range []struct {
		operator string
		value    int64
		to       **int64
	}{
		{"BYTES_RECEIVED", e.BytesReceived(), &l.BytesReceived},
		{"BYTES_SENT", e.BytesSent(), &l.BytesSent},
		{"DURATION", e.Duration().Milliseconds(), &l.DurationMS},
		{"RESP(X-ENVOY-UPSTREAM-SERVICE-TIME)", e.ServiceTime().Milliseconds(), &l.ServiceTimeMS},
	} {
		if said(n.operator) {
			*n.to = &n.value
		}
	}
	for _, f := range e.Flags() {
		it, _ := explain.LookupFlag(f)
		l.Flags = append(l.Flags, responseFlag{f, it.Name, it.Meaning})
	}
	if it, ok := explain.LookupDetail(l.Details); ok && l.Details != "via_upstream" {
		l.DetailsAre = meaning(it)
	}
	if it, ok := explain.LookupTransport(l.TransportFailure); ok {
		l.TransportMeans = meaning(it)
	}
	return l
}

// meaning is an item's meaning with those of its parts.
func meaning(it explain.Item) string {
	all := []string{it.Meaning}
	for _, part := range it.Parts {
		all = append(all, part.Meaning)
	}
	return strings.Join(all, " ")
}
