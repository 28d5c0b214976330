package snapshot

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"strings"
	"time"

	"github.com/hoptrail/hoptrail/trace"
)

// Format is the form of a snapshot, as its snapshot.json says.
const Format = "hoptrail.snapshot/v1"

const (
	metaFile = "snapshot.json"
	dnsFile  = "dns.json"
	notOne   = `neither a snapshot (there is no snapshot.json; made by hand it is {"format":"hoptrail.snapshot/v1"}) nor an istioctl bug-report`
)

// Meta is what snapshot.json says of a snapshot. Observations is written by the
// [Recorder]; a snapshot made by hand has none, and every file of it is whole.
type Meta struct {
	Format       string        `json:"format"`
	CollectedAt  time.Time     `json:"collected_at,omitzero"`
	Cluster      string        `json:"cluster,omitempty"`
	Notes        string        `json:"notes,omitempty"`
	Namespace    string        `json:"namespace,omitempty"` // that of the kubeconfig's context
	Observations []observation `json:"observations,omitempty"`
}

// observation is one answer that was given when the snapshot was recorded: which
// question it answers, and when, or why there is none.
type observation struct {
	Path   string     `json:"path"`
	Name   string     `json:"name,omitempty"` // dns: the name, the types and the vantage asked for
	Types  string     `json:"types,omitempty"`
	From   string     `json:"from,omitempty"`
	Select *selection `json:"select,omitempty"` // cluster: the part of the list; none: all of it
	At     time.Time  `json:"at,omitzero"`
	TookUS int64      `json:"took_us,omitempty"`
	Span   string     `json:"span,omitempty"` // the part of a log that was asked for
	Cut    string     `json:"cut,omitempty"`  // what is missing of that

	NotRead   string `json:"not_read,omitempty"` // why, where it could not be read
	Verb      string `json:"verb,omitempty"`
	Resource  string `json:"resource,omitempty"`
	Namespace string `json:"namespace,omitempty"`
	Command   string `json:"command,omitempty"`
}

type selection struct {
	Namespace string `json:"namespace,omitempty"`
	Name      string `json:"name,omitempty"`
	Labels    string `json:"labels,omitempty"`
	Fields    string `json:"fields,omitempty"`
}

func selectionOf(s trace.Selector) *selection {
	if s == (trace.Selector{}) {
		return nil
	}
	return &selection{s.Namespace, s.Name, s.Labels, s.Fields}
}

func (s *selection) selector() trace.Selector {
	if s == nil {
		return trace.Selector{}
	}
	return trace.Selector{Namespace: s.Namespace, Name: s.Name, Labels: s.Labels, Fields: s.Fields}
}

// Snapshot is a [trace.Source] over files. It is safe for concurrent use.
type Snapshot struct {
	st     *store
	prefix string // of all files within the store
	meta   Meta
	bug    *bugReport
	byPath map[string][]*observation
}

// Open opens a snapshot: a folder, a .tar.gz or a .tar, or an `istioctl
// bug-report` archive or folder. What cannot be read as one is a
// [trace.InputError]. The caller closes it.
func Open(name string) (*Snapshot, error) { return open(name, defaultLimits) }

func open(name string, lim limits) (*Snapshot, error) {
	st, err := openStore(name, lim)
	if err != nil {
		return nil, err
	}
	return newSnapshot(st)
}

// Read opens a snapshot that is an archive in memory; name is for messages.
func Read(name string, archive []byte) (*Snapshot, error) {
	return read(name, archive, defaultLimits)
}

func read(name string, archive []byte, lim limits) (*Snapshot, error) {
	st, err := readArchive(name, bytes.NewReader(archive), lim)
	if err != nil {
		return nil, err
	}
	return newSnapshot(st)
}

func newSnapshot(st *store) (*Snapshot, error) {
	s := &Snapshot{st: st}
	if err := s.load(); err != nil {
		st.close()
		return nil, err
	}
	return s, nil
}

func (s *Snapshot) load() error {
	prefix, ok := s.st.find(metaFile)
	if !ok {
		if s.bug = findBugReport(s.st); s.bug != nil {
			return nil
		}
		return s.st.input("%s", notOne)
	}
	s.prefix = prefix
	data, _, err := s.st.read(prefix + metaFile)
	if err != nil {
		return err
	}
	file := s.file(metaFile)
	var format struct {
		Format any `json:"format"`
	}
	if err := json.Unmarshal(data, &format); err != nil {
		return trace.JSONError(file, data, err)
	}
	if format.Format != Format {
		return &trace.InputError{File: file, Msg: fmt.Sprintf("format is %s; this version reads %q", show(format.Format), Format)}
	}
	if err := json.Unmarshal(data, &s.meta); err != nil {
		return trace.JSONError(file, data, err)
	}
	s.byPath = map[string][]*observation{}
	for i := range s.meta.Observations {
		o := &s.meta.Observations[i]
		s.byPath[o.Path] = append(s.byPath[o.Path], o)
	}
	return nil
}

func show(v any) string {
	if v == nil {
		return "not given"
	}
	b, err := json.Marshal(v)
	if err != nil || len(b) > 80 {
		return "not known"
	}
	return string(b)
}

// find looks for a file at the top, or in the only folder at the top.
func (s *store) find(name string) (prefix string, ok bool) {
	if s.files[name] != nil {
		return "", true
	}
	top := ""
	for p := range s.files {
		dir, _, nested := strings.Cut(p, "/")
		if !nested || top != "" && dir != top {
			return "", false
		}
		top = dir
	}
	return top + "/", s.files[top+"/"+name] != nil
}

// file names a file of the snapshot for a message.
func (s *Snapshot) file(name string) string { return path.Join(s.st.name, s.prefix+name) }

// Meta is what snapshot.json says; of a bug report only the format is given.
func (s *Snapshot) Meta() Meta {
	if s.bug != nil {
		return Meta{Format: "istioctl bug-report"}
	}
	return s.meta
}

// Close lets go of the files.
func (s *Snapshot) Close() error { return s.st.close() }

// Observe implements [trace.Source]. What is not there is a
// [trace.NotReadError] with the command that would make the file.
func (s *Snapshot) Observe(ctx context.Context, q trace.Query) (trace.Observation, error) {
	if err := ctx.Err(); err != nil {
		return trace.Observation{}, err
	}
	if s.bug != nil {
		return s.bug.observe(q)
	}
	name := q.Path()
	recorded := s.byPath[name]
	o, err := answers(recorded, q)
	if err != nil {
		return trace.Observation{}, err
	}
	data, _, err := s.st.read(s.prefix + name)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return trace.Observation{}, notRead(q, "not in the snapshot")
	case err != nil:
		return trace.Observation{}, err
	}
	out := trace.Observation{Data: data, At: s.meta.CollectedAt}
	if o != nil {
		out.At, out.Took = o.At, time.Duration(o.TookUS)*time.Microsecond
		out.Partial = o.Select != nil
		out.Span, out.Cut = o.Span, o.Cut
		if q.Area == trace.AreaDNS {
			out.Data, err = answersFrom(data, q.From)
			if err != nil {
				return trace.Observation{}, trace.JSONError(s.file(name), data, err)
			}
		}
	}
	return out, nil
}

func notRead(q trace.Query, why string) *trace.NotReadError {
	return &trace.NotReadError{Query: q, Why: why, Command: q.FileCommand()}
}

// answers finds the recorded answer that q asks for again: of just this question,
// or of a wider one. nil: nothing is recorded of the file, which is whole then.
func answers(recorded []*observation, q trace.Query) (*observation, error) {
	if len(recorded) == 0 {
		return nil, nil
	}
	var found *observation
	for _, o := range recorded {
		same := o.Select.selector() == q.Select
		if q.Area == trace.AreaDNS {
			same = o.Name == q.Name && o.Types == q.File && o.From == q.From
		}
		if same {
			found = o
			break
		}
		if found == nil && o.NotRead == "" && q.Area == trace.AreaCluster && covers(o.Select.selector(), q.Select) {
			found = o
		}
	}
	switch {
	case found == nil && q.Area == trace.AreaDNS:
		return nil, notRead(q, q.Name+" was not asked for when the snapshot was recorded")
	case found == nil:
		return nil, notRead(q, "not in the snapshot, which holds only a part of this list")
	case found.NotRead != "":
		return nil, &trace.NotReadError{
			Query: q, Why: found.NotRead, Verb: found.Verb, Resource: found.Resource,
			Namespace: found.Namespace, Command: found.Command,
		}
	}
	return found, nil
}

// covers says whether a list selected by wide has all that narrow selects.
func covers(wide, narrow trace.Selector) bool {
	in := func(w, n string) bool { return w == "" || w == n }
	return in(wide.Namespace, narrow.Namespace) && in(wide.Name, narrow.Name) &&
		in(wide.Labels, narrow.Labels) && in(wide.Fields, narrow.Fields)
}

// answersFrom leaves out of dns.json what was answered to another vantage. A file
// whose answers name no vantage is given as it is.
func answersFrom(data []byte, from string) ([]byte, error) {
	if !bytes.Contains(data, []byte(`"from"`)) {
		return data, nil
	}
	var doc dnsDoc
	if err := json.Unmarshal(data, &doc); err != nil {
		return nil, err
	}
	kept := doc.Answers[:0]
	for _, a := range doc.Answers {
		var said struct {
			From string `json:"from"`
		}
		if err := json.Unmarshal(a, &said); err != nil {
			return nil, err
		}
		if vantage(said.From) == vantage(from) {
			kept = append(kept, a)
		}
	}
	doc.Answers = kept
	return json.MarshalIndent(doc, "", " ")
}

type dnsDoc struct {
	Answers []json.RawMessage `json:"answers"`
}

func vantage(from string) string {
	if from == "" {
		return "external"
	}
	return from
}
