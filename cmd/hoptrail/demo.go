package main

import (
	"encoding/json"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"path"
	"slices"
	"strings"

	"github.com/charmbracelet/x/ansi"
	"github.com/spf13/cobra"

	"github.com/hoptrail/hoptrail/internal/sanitize"
	"github.com/hoptrail/hoptrail/testdata"
	"github.com/hoptrail/hoptrail/trace"
)

// firstDemo is traced when no name is given.
const firstDemo = "ingress-http"

// demoWorld is a world in the binary: a snapshot and the questions to ask of it.
type demoWorld struct {
	name    string // ingress-http, HT5002-selector
	archive string // its file in testdata.Worlds
	cases   []demoCase
}

// demoCase is one question, as NAME.expect.json has it.
type demoCase struct {
	Name        string            `json:"name"`
	Target      string            `json:"target"`
	From        string            `json:"from"`
	Headers     map[string]string `json:"headers"`
	SNI         string            `json:"sni"`
	Resolve     map[string]string `json:"resolve"`
	Source      string            `json:"source"`
	HTTPVersion string            `json:"http_version"`
}

func newDemoCmd(s *streams) *cobra.Command {
	o := &outputOptions{}
	cmd := &cobra.Command{
		Use:   "demo [NAME[/CASE]]",
		Short: "Trace a world that is in the binary: no cluster, no root",
		Long: `demo traces a world that is embedded in the binary: some that work, and one for
most faults hoptrail can name. Without NAME it lists them and traces the ingress
one. NAME may be the beginning of a name, such as a code. Exit status is that of
trace.`,
		Example: `  # the list, and a request through an ingress gateway
  hoptrail demo

  # a world in which a Service selects no Pod
  hoptrail demo HT5002

  # one question of a world that has several
  hoptrail demo bookinfo/ingress-https -o json`,
		Args: cobra.MaximumNArgs(1),
		ValidArgsFunction: func(*cobra.Command, []string, string) ([]string, cobra.ShellCompDirective) {
			worlds, err := demoWorlds()
			if err != nil {
				return nil, cobra.ShellCompDirectiveError
			}
			var names []string
			for _, w := range worlds {
				names = append(names, w.name)
			}
			return names, cobra.ShellCompDirectiveNoFileComp
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			name := ""
			if len(args) == 1 {
				name = args[0]
			}
			return runDemo(cmd, s, o, name)
		},
	}
	o.addFlags(cmd)
	return cmd
}

func runDemo(cmd *cobra.Command, s *streams, o *outputOptions, name string) (err error) {
	format, err := o.format(s)
	if err != nil {
		return err
	}
	worlds, err := demoWorlds()
	if err != nil {
		return err
	}
	if name == "" {
		// The list belongs to what is read; a program's output stays its own.
		list := s.err
		if format == "text" || format == "wide" {
			list = s.out
		}
		if err := listDemos(list, worlds); err != nil {
			return err
		}
		name = firstDemo
	}
	world, c, err := findDemo(worlds, name)
	if err != nil {
		return err
	}
	target, err := c.target()
	if err != nil {
		return err
	}
	src, err := openDemo(world)
	if err != nil {
		return err
	}
	defer func() { err = closing(src, err) }()
	return ask(cmd.Context(), s, o, src, target)
}

// demoWorlds lists the worlds: those that work first, then the faults by code.
func demoWorlds() ([]demoWorld, error) {
	var out []demoWorld
	for _, folder := range []string{"worlds/seed", "worlds/faults"} {
		entries, err := fs.ReadDir(testdata.Worlds, folder)
		if err != nil {
			return nil, fmt.Errorf("demo: %w", err)
		}
		for _, e := range entries { // in order of names
			name, ok := strings.CutSuffix(e.Name(), ".expect.json")
			if !ok {
				continue
			}
			data, err := fs.ReadFile(testdata.Worlds, path.Join(folder, e.Name()))
			if err != nil {
				return nil, fmt.Errorf("demo: %w", err)
			}
			var doc struct{ Cases []demoCase }
			if err := json.Unmarshal(data, &doc); err != nil {
				return nil, fmt.Errorf("demo: %s: %w", e.Name(), err)
			}
			if len(doc.Cases) == 0 {
				continue
			}
			out = append(out, demoWorld{name: name, archive: path.Join(folder, name+".tar.gz"), cases: doc.Cases})
		}
	}
	return out, nil
}

// findDemo finds NAME or NAME/CASE; NAME may be the only one that begins so.
func findDemo(worlds []demoWorld, name string) (demoWorld, demoCase, error) {
	name, which, hasCase := strings.Cut(name, "/")
	var fit []demoWorld
	for _, w := range worlds {
		if strings.EqualFold(w.name, name) {
			fit = []demoWorld{w}
			break
		}
		if len(name) > 1 && strings.HasPrefix(strings.ToLower(w.name), strings.ToLower(name)) {
			fit = append(fit, w)
		}
	}
	switch len(fit) {
	case 0:
		return demoWorld{}, demoCase{}, fmt.Errorf("demo: no world is named %q; `hoptrail demo` lists them", name)
	case 1:
	default:
		var names []string
		for _, w := range fit {
			names = append(names, w.name)
		}
		return demoWorld{}, demoCase{}, fmt.Errorf("demo: %q is one of %s", name, strings.Join(names, ", "))
	}
	if !hasCase {
		return fit[0], fit[0].cases[0], nil
	}
	var names []string
	for _, c := range fit[0].cases {
		if c.Name == which {
			return fit[0], c, nil
		}
		names = append(names, c.Name)
	}
	return demoWorld{}, demoCase{}, fmt.Errorf("demo: %s has no case %q but %s", fit[0].name, which, strings.Join(names, ", "))
}

func (c demoCase) target() (trace.Target, error) {
	o := &traceOptions{from: c.From, sni: c.SNI, sourceIP: c.Source, httpVersion: c.HTTPVersion}
	if o.from == "" {
		o.from = "external"
	}
	for _, k := range slices.Sorted(maps.Keys(c.Headers)) {
		o.headers = append(o.headers, k+": "+c.Headers[k])
	}
	for _, k := range slices.Sorted(maps.Keys(c.Resolve)) {
		o.resolve = append(o.resolve, k+":"+c.Resolve[k])
	}
	return o.target(c.Target)
}

// demoNotes is what each world says of itself, by name. Opening every archive
// for it would take longer than the trace: TestDemoNotes keeps the file.
func demoNotes() (map[string]string, error) {
	data, err := fs.ReadFile(testdata.Worlds, "worlds/notes.json")
	if err != nil {
		return nil, fmt.Errorf("demo: %w", err)
	}
	notes := map[string]string{}
	if err := json.Unmarshal(data, &notes); err != nil {
		return nil, fmt.Errorf("demo: notes.json: %w", err)
	}
	return notes, nil
}

func listDemos(w io.Writer, worlds []demoWorld) error {
	notes, err := demoNotes()
	if err != nil {
		return err
	}
	width := 0
	for _, d := range worlds {
		width = max(width, ansi.StringWidth(d.name))
	}
	fmt.Fprintf(w, "Worlds to trace with `hoptrail demo NAME`, those with a fault by its code alone (`hoptrail demo HT5002`):\n\n")
	for _, d := range worlds {
		fmt.Fprintf(w, "  %-*s  %s\n", width, d.name, sanitize.Line(notes[d.name]))
	}
	_, err = fmt.Fprintf(w, "\nThis is `hoptrail demo %s`:\n\n", firstDemo)
	return err
}
