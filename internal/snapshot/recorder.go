package snapshot

import (
	"archive/tar"
	"bytes"
	"cmp"
	"compress/gzip"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/hoptrail/hoptrail/k8s"
	"github.com/hoptrail/hoptrail/trace"
)

// Recorder is a [trace.Source] that passes on what another one gives and keeps
// it, to be written as a snapshot of which a trace gives the same report. The
// source before it is to be one of [Redact]. It is safe for concurrent use.
type Recorder struct {
	src  trace.Source
	path string
	meta Meta

	mu   sync.Mutex
	seen map[question]bool
	kept []kept
}

// question tells observations apart.
type question struct {
	path, name, types, from string
	sel                     trace.Selector
}

type kept struct {
	observation
	data []byte
}

// NewRecorder returns a recorder of src. [Recorder.Close] writes the snapshot to
// path: an archive where it ends in .tar.gz, .tgz or .tar, else a folder. It
// refuses at once to write over what is there, unless that is a snapshot or
// empty.
func NewRecorder(src trace.Source, path string) (*Recorder, error) {
	if err := mayWrite(path); err != nil {
		return nil, err
	}
	return &Recorder{src: src, path: path, seen: map[question]bool{}, meta: Meta{Format: Format}}, nil
}

// Describe sets what snapshot.json says of the cluster, its notes, and the
// namespace that was asked where the whole cluster might not be.
func (r *Recorder) Describe(cluster, notes, namespace string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.meta.Cluster, r.meta.Notes, r.meta.Namespace = cluster, notes, namespace
}

func mayWrite(path string) error {
	refuse := func(why string) error {
		return &trace.InputError{File: path, Msg: "not written over: " + why}
	}
	if strings.TrimSpace(path) == "" {
		return errors.New("snapshot: record: no file or folder is given")
	}
	fi, err := os.Lstat(path)
	if errors.Is(err, fs.ErrNotExist) {
		if parent, err := os.Stat(filepath.Dir(filepath.Clean(path))); err != nil || !parent.IsDir() {
			return &trace.InputError{File: path, Msg: "its folder is not there"}
		}
		return nil
	}
	if err != nil {
		return fmt.Errorf("snapshot: record: %w", err)
	}
	_, archived := archiveKind(path)
	switch {
	case fi.IsDir() && archived:
		return refuse("it is a folder, and the name is that of an archive")
	case fi.IsDir():
		entries, err := os.ReadDir(path)
		if err != nil {
			return fmt.Errorf("snapshot: record: %w", err)
		}
		if len(entries) == 0 {
			return nil
		}
		data, err := os.ReadFile(filepath.Join(path, metaFile))
		var m struct {
			Format string `json:"format"`
		}
		if err != nil || json.Unmarshal(data, &m) != nil || !strings.HasPrefix(m.Format, "hoptrail.snapshot/") {
			return refuse("the folder is neither empty nor a snapshot")
		}
		return nil
	case !fi.Mode().IsRegular():
		return refuse("it is neither a file nor a folder")
	case !archived:
		return refuse("it is a file; the name of an archive ends in .tar.gz, .tgz or .tar")
	case fi.Size() == 0:
		return nil
	}
	s, err := Open(path)
	if err != nil || s.bug != nil {
		return refuse("the file is no snapshot")
	}
	return s.Close()
}

// archiveKind says whether a name is that of an archive, and of a compressed one.
func archiveKind(path string) (compressed, archived bool) {
	low := strings.ToLower(path)
	switch {
	case strings.HasSuffix(low, ".tar.gz"), strings.HasSuffix(low, ".tgz"):
		return true, true
	case strings.HasSuffix(low, ".tar"):
		return false, true
	}
	return false, false
}

// Observe implements [trace.Source].
func (r *Recorder) Observe(ctx context.Context, q trace.Query) (trace.Observation, error) {
	obs, err := r.src.Observe(ctx, q)
	o := observation{Path: q.Path(), At: obs.At.UTC(), TookUS: obs.Took.Microseconds(), Span: obs.Span, Cut: obs.Cut}
	switch q.Area {
	case trace.AreaDNS:
		o.Name, o.Types, o.From = q.Name, q.File, q.From
	case trace.AreaCluster:
		o.Select = selectionOf(q.Select)
	}
	var nr *trace.NotReadError
	switch {
	case errors.As(err, &nr):
		o.NotRead, o.Verb, o.Resource, o.Namespace, o.Command = cmp.Or(nr.Why, "not read"), nr.Verb, nr.Resource, nr.Namespace, nr.Command
	case err != nil:
		return obs, err
	}
	if !fs.ValidPath(o.Path) || o.Path == metaFile {
		return obs, err // no file can have the name; a replay finds nothing there either
	}
	obs.Took = obs.Took.Truncate(time.Microsecond) // what a replay will say
	if obs.At = obs.At.Round(0); !obs.At.IsZero() {
		obs.At = obs.At.UTC()
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	key := question{o.Path, o.Name, o.Types, o.From, q.Select}
	if !r.seen[key] {
		r.seen[key] = true
		r.kept = append(r.kept, kept{o, obs.Data})
	}
	return obs, err
}

// Close writes the snapshot. It is written beside its place and moved there when
// it is whole.
func (r *Recorder) Close() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	files, err := r.files()
	if err != nil {
		return fmt.Errorf("snapshot: record %s: %w", r.path, err)
	}
	if err := mayWrite(r.path); err != nil {
		return err
	}
	compressed, archived := archiveKind(r.path)
	if archived {
		err = writeArchive(r.path, files, compressed)
	} else {
		err = writeFolder(r.path, files)
	}
	if err != nil {
		return fmt.Errorf("snapshot: record %s: %w", r.path, err)
	}
	return nil
}

// outFile is a file of a snapshot to be written.
type outFile struct {
	name string
	data []byte
}

// files lays the observations out as files, sorted by name.
func (r *Recorder) files() ([]outFile, error) {
	byPath := map[string][]kept{}
	meta := r.meta
	for _, k := range r.kept {
		meta.Observations = append(meta.Observations, k.observation)
		if k.NotRead == "" {
			byPath[k.Path] = append(byPath[k.Path], k)
			if k.At.After(meta.CollectedAt) {
				meta.CollectedAt = k.At
			}
		}
	}
	slices.SortStableFunc(meta.Observations, func(a, b observation) int {
		sa, sb := a.Select.selector(), b.Select.selector()
		return cmp.Or(
			strings.Compare(a.Path, b.Path), strings.Compare(a.Name, b.Name), strings.Compare(a.Types, b.Types), strings.Compare(a.From, b.From),
			strings.Compare(sa.Namespace, sb.Namespace), strings.Compare(sa.Name, sb.Name), strings.Compare(sa.Labels, sb.Labels), strings.Compare(sa.Fields, sb.Fields))
	})
	js, err := json.MarshalIndent(meta, "", " ")
	if err != nil {
		return nil, err
	}
	out := []outFile{{metaFile, append(js, '\n')}}
	for path, ks := range byPath {
		var data []byte
		switch {
		case path == dnsFile:
			data, err = mergeAnswers(ks)
		case len(ks) == 1:
			data = ks[0].data
		default:
			data = mergeLists(ks)
		}
		if err != nil {
			return nil, err
		}
		out = append(out, outFile{path, data})
	}
	slices.SortFunc(out, func(a, b outFile) int { return strings.Compare(a.name, b.name) })
	return out, nil
}

// mergeLists puts the parts of a list into one, by namespace and name; of an
// object that is in several the one that was read first stays. A whole list in
// which all parts are as they were read is the file as it is. Where a part is no
// list, that part is the file, so that a replay fails as the trace did.
func mergeLists(ks []kept) []byte {
	var items []k8s.RawItem
	seen := map[string][]byte{}
	var whole []k8s.RawItem
	var wholeData []byte
	for _, k := range ks {
		part, err := k8s.Items(k.data)
		if err != nil {
			return k.data
		}
		if k.Select == nil && wholeData == nil {
			whole, wholeData = part, k.data
		}
		for _, it := range part {
			key := it.Kind + "/" + it.Namespace + "/" + it.Name
			if _, ok := seen[key]; !ok {
				seen[key] = it.Raw
				items = append(items, it)
			}
		}
	}
	if len(whole) == len(items) && wholeData != nil && !slices.ContainsFunc(whole, func(it k8s.RawItem) bool {
		return !bytes.Equal(seen[it.Kind+"/"+it.Namespace+"/"+it.Name], it.Raw)
	}) {
		return wholeData
	}
	slices.SortStableFunc(items, func(a, b k8s.RawItem) int {
		return cmp.Or(strings.Compare(a.Kind, b.Kind), strings.Compare(a.Namespace, b.Namespace), strings.Compare(a.Name, b.Name))
	})
	raws := make([][]byte, len(items))
	for i, it := range items {
		raws[i] = withKind(it)
	}
	return joinList(raws)
}

// mergeAnswers puts the answers for several names into one dns.json; an answer to
// another vantage than the outside says which.
func mergeAnswers(ks []kept) ([]byte, error) {
	doc := dnsDoc{Answers: []json.RawMessage{}}
	seen := map[string]bool{}
	for _, k := range ks {
		var part dnsDoc
		if err := json.Unmarshal(k.data, &part); err != nil {
			return k.data, nil // a replay is to fail as the trace did
		}
		for _, a := range part.Answers {
			if vantage(k.From) != "external" {
				var err error
				if a, err = withFrom(a, k.From); err != nil {
					return nil, err
				}
			}
			var flat bytes.Buffer
			if err := json.Compact(&flat, a); err != nil {
				return nil, err
			}
			if !seen[flat.String()] {
				seen[flat.String()] = true
				doc.Answers = append(doc.Answers, a)
			}
		}
	}
	js, err := json.MarshalIndent(doc, "", " ")
	return append(js, '\n'), err
}

func withFrom(answer json.RawMessage, from string) (json.RawMessage, error) {
	var a map[string]json.RawMessage
	if err := json.Unmarshal(answer, &a); err != nil || a == nil {
		return answer, err
	}
	v, err := json.Marshal(from)
	if err != nil {
		return nil, err
	}
	a["from"] = v
	return json.Marshal(a)
}

// writeArchive writes a tar that is the same for the same files: sorted, of no
// owner and no time.
func writeArchive(path string, files []outFile, compressed bool) (err error) {
	f, err := os.CreateTemp(filepath.Dir(path), ".hoptrail-*")
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			f.Close()
			os.Remove(f.Name())
		}
	}()
	var w io.Writer = f
	var zw *gzip.Writer
	if compressed {
		zw = gzip.NewWriter(f)
		w = zw
	}
	tw := tar.NewWriter(w)
	for _, o := range files {
		h := &tar.Header{Name: o.name, Typeflag: tar.TypeReg, Mode: 0o644, Size: int64(len(o.data)), ModTime: time.Unix(0, 0)}
		if err := tw.WriteHeader(h); err != nil {
			return err
		}
		if _, err := tw.Write(o.data); err != nil {
			return err
		}
	}
	if err := tw.Close(); err != nil {
		return err
	}
	if zw != nil {
		if err := zw.Close(); err != nil {
			return err
		}
	}
	if err := f.Sync(); err != nil {
		return err
	}
	if err := f.Close(); err != nil {
		return err
	}
	return os.Rename(f.Name(), path)
}

// writeFolder writes a folder beside its place and puts it there.
func writeFolder(path string, files []outFile) (err error) {
	path = filepath.Clean(path)
	tmp, err := os.MkdirTemp(filepath.Dir(path), ".hoptrail-*")
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			os.RemoveAll(tmp)
		}
	}()
	if err := os.Chmod(tmp, 0o755); err != nil {
		return err
	}
	root, err := os.OpenRoot(tmp)
	if err != nil {
		return err
	}
	defer root.Close()
	for _, o := range files {
		name := filepath.FromSlash(o.name)
		if err := root.MkdirAll(filepath.Dir(name), 0o755); err != nil {
			return err
		}
		if err := root.WriteFile(name, o.data, 0o644); err != nil {
			return err
		}
	}
	old := ""
	if _, err := os.Lstat(path); err == nil {
		// A folder cannot be moved over one that holds something: that one goes
		// aside first, and back if the move fails.
		if old, err = os.MkdirTemp(filepath.Dir(path), ".hoptrail-old-*"); err != nil {
			return err
		}
		if err := os.Rename(path, filepath.Join(old, "snapshot")); err != nil {
			os.RemoveAll(old)
			return err
		}
	}
	if err := os.Rename(tmp, path); err != nil {
		if old != "" {
			if back := os.Rename(filepath.Join(old, "snapshot"), path); back != nil {
				return fmt.Errorf("%w; the former snapshot is in %s", err, old)
			}
			os.Remove(old)
		}
		return err
	}
	if old != "" {
		return os.RemoveAll(old)
	}
	return nil
}
