package main

import (
	"encoding/json"
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"

	"github.com/hoptrail/hoptrail/docs/findings"
	"github.com/hoptrail/hoptrail/envoyadmin/accesslog"
	"github.com/hoptrail/hoptrail/envoyadmin/explain"
	"github.com/hoptrail/hoptrail/internal/sanitize"
)

// explainOptions are the flags of explain.
type explainOptions struct {
	output string
}

func newExplainCmd(s *streams) *cobra.Command {
	o := &explainOptions{}
	cmd := &cobra.Command{
		Use:   "explain WORD",
		Short: "Explain a finding code, a response flag, a detail, a term or a log line",
		Long: `explain says what a word means, what usually causes it and what to look at.

WORD is a finding code (HT4001), a response flag or several joined by commas (UF,
URX,UF), a response code detail with or without its braces, a transport failure
reason, a term of Envoy, Istio or kube-proxy (BlackHoleCluster, KUBE-SVC-...,
15006), or a whole access log line in quotes.

Exit status: 0 explained; 2 the word is not known, the nearest are named.`,
		Example: `  hoptrail explain NR
  hoptrail explain HT1003
  hoptrail explain 'rbac_access_denied_matched_policy[ns[foo]-policy[httpbin]-rule[0]]'`,
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) == 0 {
				return fmt.Errorf("a WORD is wanted: a finding code, a flag, a detail, a term or a log line")
			}
			return nil
		},
		ValidArgsFunction: func(_ *cobra.Command, args []string, toComplete string) ([]string, cobra.ShellCompDirective) {
			var words []string
			if len(args) == 0 {
				for _, w := range append(findings.Codes(), explain.Words()...) {
					if strings.HasPrefix(strings.ToLower(w), strings.ToLower(toComplete)) {
						words = append(words, w)
					}
				}
			}
			return words, cobra.ShellCompDirectiveNoFileComp
		},
		RunE: func(_ *cobra.Command, args []string) error {
			return o.run(s, strings.Join(args, " "))
		},
	}
	cmd.Flags().StringVarP(&o.output, "output", "o", "text", "output `format`: text or json")
	return cmd
}

func (o *explainOptions) run(s *streams, word string) error {
	if o.output != "text" && o.output != "json" {
		return fmt.Errorf("-o %s: want text or json", sanitize.Line(o.output))
	}
	word = strings.TrimSpace(word)
	if page, ok := findings.Page(word); ok {
		if o.output == "json" {
			return writeJSON(s.out, map[string]string{"code": strings.ToUpper(word), "page": page})
		}
		_, err := io.WriteString(s.out, page)
		return err
	}
	// A line may hold words that would be explained alone, so it goes first.
	e := accesslog.NewParser().Parse(word)
	var items []explain.Item
	if !e.OK() {
		var ok bool
		if items, ok = lookup(word); !ok {
			return unknownWord(word)
		}
	} else {
		if o.output == "json" {
			return writeJSON(s.out, lineJSON(e))
		}
		items = lineItems(e)
		if _, err := io.WriteString(s.out, lineSummary(e)); err != nil {
			return err
		}
		if len(items) == 0 {
			_, err := fmt.Fprintln(s.out, "Nothing in it is out of the ordinary: no flag, no failure.")
			return err
		}
		fmt.Fprintln(s.out)
	}
	if o.output == "json" {
		return writeJSON(s.out, map[string]any{"word": word, "items": items})
	}
	width := 80
	if s.width > 0 {
		width = min(max(s.width, 40), 100)
	}
	var b strings.Builder
	for i, it := range items {
		if i > 0 {
			b.WriteByte('\n')
		}
		writeItem(&b, it, width, "")
	}
	_, err := io.WriteString(s.out, b.String())
	return err
}

// lookup explains one word, or each of the flags joined by commas.
func lookup(word string) ([]explain.Item, bool) {
	if it, ok := explain.Lookup(word); ok {
		return []explain.Item{it}, true
	}
	parts := strings.Split(word, ",")
	if len(parts) < 2 || len(parts) > 8 {
		return nil, false
	}
	var items []explain.Item
	for _, part := range parts {
		it, ok := explain.Lookup(part)
		if !ok || it.Kind != explain.Flag {
			return nil, false
		}
		items = append(items, it)
	}
	return items, true
}

func unknownWord(word string) error {
	shown := sanitize.Cut(sanitize.Line(word), 120)
	near := explain.Nearest(word, 5, findings.Codes()...)
	if len(near) == 0 {
		return fmt.Errorf("explain: %q is not in the dictionary and is no access log line", shown)
	}
	return fmt.Errorf("explain: %q is not in the dictionary; nearest: %s", shown, strings.Join(near, ", "))
}

// lineItems explains what is out of the ordinary in a line: its flags, details,
// failures and a cluster that stands for something.
func lineItems(e accesslog.Entry) []explain.Item {
	var items []explain.Item
	add := func(it explain.Item, ok bool) {
		if !ok {
			return
		}
		for _, have := range items {
			if have.Kind == it.Kind && have.Word == it.Word {
				return
			}
		}
		items = append(items, it)
	}
	for _, f := range e.Flags() {
		add(explain.LookupFlag(f))
	}
	if d := e.Details(); d != "" && (d != "via_upstream" || e.Status() >= 400) {
		add(explain.LookupDetail(d))
	}
	add(explain.LookupDetail(e.TerminationDetails()))
	add(explain.LookupTransport(e.TerminationDetails()))
	add(explain.LookupTransport(e.TransportFailure()))
	switch c := e.UpstreamCluster(); c {
	case "BlackHoleCluster", "PassthroughCluster", "InboundPassthroughCluster", "InboundPassthroughClusterIpv4", "InboundPassthroughClusterIpv6":
		add(explain.Lookup(c))
	}
	return items
}

// lineSummary tells a line in words.
func lineSummary(e accesslog.Entry) string {
	var b strings.Builder
	row := func(name, value string) {
		if value != "" {
			fmt.Fprintf(&b, "%-11s %s\n", name, sanitize.Cut(sanitize.Line(value), 400))
		}
	}
	row("format", e.Format.Name())
	if t := e.Start(); !t.IsZero() {
		row("time", t.UTC().Format("2006-01-02T15:04:05.000Z"))
	}
	row("request", strings.TrimSpace(strings.Join([]string{e.Method(), e.Authority() + e.Path(), e.Protocol()}, " ")))
	if e.Status() != 0 {
		row("status", fmt.Sprint(e.Status()))
	}
	row("flags", strings.Join(e.Flags(), ","))
	row("details", e.Details())
	row("termination", e.TerminationDetails())
	row("transport", e.TransportFailure())
	row("duration", e.Duration().String())
	row("client", e.DownstreamRemote())
	row("asked for", e.DownstreamLocal())
	row("sni", e.ServerName())
	row("route", e.Route())
	row("cluster", e.UpstreamCluster())
	row("endpoint", e.UpstreamHost())
	row("request id", e.RequestID())
	return b.String()
}

// writeItem shows an item as text of this width, indented.
func writeItem(b *strings.Builder, it explain.Item, width int, indent string) {
	head := it.Word
	if it.Name != "" {
		head += "  " + it.Name
	}
	b.WriteString(indent + sanitize.Line(head) + "  (" + string(it.Kind) + ")\n")
	wrap(b, it.Meaning, width, indent+"  ", indent+"  ")
	list := func(title string, points []string) {
		if len(points) == 0 {
			return
		}
		b.WriteString(indent + "  " + title + "\n")
		for _, p := range points {
			wrap(b, p, width, indent+"  - ", indent+"    ")
		}
	}
	list("Usual causes:", it.Causes)
	list("Look at:", it.Look)
	for _, part := range it.Parts {
		writeItem(b, part, width, indent+"  ")
	}
	if len(it.Codes) > 0 {
		b.WriteString(indent + "  Findings:\n")
		for _, code := range it.Codes {
			title, _ := findings.Title(code)
			b.WriteString(indent + "  - " + strings.TrimSpace(code+"  "+title) + "\n")
		}
	}
}

// wrap writes text in lines of at most width bytes, where its words allow.
func wrap(b *strings.Builder, text string, width int, first, rest string) {
	line, indent := "", first
	for word := range strings.FieldsSeq(sanitize.Line(text)) {
		switch {
		case line == "":
			line = word
		case len(indent)+len(line)+1+len(word) > width:
			b.WriteString(indent + line + "\n")
			line, indent = word, rest
		default:
			line += " " + word
		}
	}
	b.WriteString(indent + line + "\n")
}

func writeJSON(w io.Writer, v any) error {
	enc := json.NewEncoder(w)
	enc.SetEscapeHTML(false)
	return enc.Encode(v)
}
