package snapshot

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/hoptrail/hoptrail/testdata"
	"github.com/hoptrail/hoptrail/trace"
)

func worldBytes(t testing.TB, name string) []byte {
	t.Helper()
	dir := "seed"
	if strings.HasPrefix(name, "HT") {
		dir = "faults"
	}
	data, err := testdata.Worlds.ReadFile("worlds/" + dir + "/" + name + ".tar.gz")
	if err != nil {
		t.Fatal(err)
	}
	return data
}

func worlds(t testing.TB) []string {
	t.Helper()
	var out []string
	for _, dir := range []string{"seed", "faults"} {
		entries, err := testdata.Worlds.ReadDir("worlds/" + dir)
		if err != nil {
			t.Fatal(err)
		}
		for _, e := range entries {
			if n, ok := strings.CutSuffix(e.Name(), ".tar.gz"); ok {
				out = append(out, n)
			}
		}
	}
	if len(out) < 59 {
		t.Fatalf("only %d worlds", len(out))
	}
	return out
}

// entry is one entry of an archive that a test makes.
type entry struct {
	name, body string
	typ        byte
	link       string
	size       int64 // of zeros, instead of the body
}

func archive(t testing.TB, compress bool, entries ...entry) []byte {
	t.Helper()
	var buf bytes.Buffer
	var w io.Writer = &buf
	var zw *gzip.Writer
	if compress {
		zw = gzip.NewWriter(&buf)
		w = zw
	}
	tw := tar.NewWriter(w)
	for _, e := range entries {
		h := &tar.Header{Name: e.name, Mode: 0o644, Typeflag: e.typ, Linkname: e.link, Size: int64(len(e.body)), ModTime: time.Unix(1700000000, 0)}
		if e.size > 0 {
			h.Size = e.size
		}
		if e.typ == 0 {
			h.Typeflag = tar.TypeReg
		}
		if h.Typeflag != tar.TypeReg {
			h.Size = 0
		}
		if err := tw.WriteHeader(h); err != nil {
			t.Fatal(err)
		}
		body := io.Reader(strings.NewReader(e.body))
		if e.size > 0 {
			body = io.LimitReader(zeros{}, e.size)
		}
		if h.Size > 0 {
			if _, err := io.Copy(tw, body); err != nil {
				t.Fatal(err)
			}
		}
	}
	if err := tw.Close(); err != nil {
		t.Fatal(err)
	}
	if zw != nil {
		if err := zw.Close(); err != nil {
			t.Fatal(err)
		}
	}
	return buf.Bytes()
}

func gzipped(t testing.TB, text string) string {
	t.Helper()
	var buf bytes.Buffer
	w := gzip.NewWriter(&buf)
	if _, err := w.Write([]byte(text)); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return buf.String()
}

type zeros struct{}

func (zeros) Read(p []byte) (int, error) { clear(p); return len(p), nil }

// meta is a snapshot.json that nothing is wrong with.
const meta = `{"format":"hoptrail.snapshot/v1","collected_at":"2026-11-20T18:14:15Z","cluster":"test"}`

func TestEveryWorldOpensAndItsFilesAreRead(t *testing.T) {
	for _, name := range worlds(t) {
		s, err := Read(name, worldBytes(t, name))
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if m := s.Meta(); m.Format != Format || m.CollectedAt.IsZero() || m.Cluster == "" {
			t.Errorf("%s: meta %+v", name, m)
		}
		obs, err := s.Observe(t.Context(), trace.Query{Area: trace.AreaCluster, File: "services"})
		if err != nil || !bytes.Contains(obs.Data, []byte(`"Service"`)) || obs.At.IsZero() || obs.Partial {
			t.Errorf("%s: services: %v", name, err)
		}
		again, err := s.Observe(t.Context(), trace.Query{Area: trace.AreaCluster, File: "services", Select: trace.Selector{Namespace: "default"}})
		if err != nil || &again.Data[0] != &obs.Data[0] {
			t.Errorf("%s: a selection of a whole list must be the same bytes: %v", name, err)
		}
		s.Close()
	}
}

func TestAWorldAsFolderIsTheSameAsItsArchive(t *testing.T) {
	data := worldBytes(t, "bookinfo")
	s, err := Read("bookinfo", data)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	for name := range s.st.files {
		b, _, err := s.st.read(name)
		if err != nil {
			t.Fatal(err)
		}
		p := filepath.Join(dir, filepath.FromSlash(name))
		if err := os.MkdirAll(filepath.Dir(p), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(p, b, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	f, err := Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	for _, q := range []trace.Query{
		{Area: trace.AreaDNS, Name: "bookinfo.com"},
		{Area: trace.AreaCluster, File: "pods"},
		{Area: trace.AreaCluster, File: "nothing.example.com"},
		{Area: trace.AreaNode, Name: "no-such-node", File: "iptables-save.txt"},
	} {
		a, errA := s.Observe(t.Context(), q)
		b, errB := f.Observe(t.Context(), q)
		if !bytes.Equal(a.Data, b.Data) || !a.At.Equal(b.At) || (errA == nil) != (errB == nil) {
			t.Errorf("%s: %v, %v", q.Path(), errA, errB)
		}
	}
}

func TestAMissingFileIsNotReadAndTheCommandThatMakesItIsGiven(t *testing.T) {
	s, err := Read("x.tar.gz", archive(t, true, entry{name: "./snapshot.json", body: meta}))
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		q    trace.Query
		want string
	}{
		{trace.Query{Area: trace.AreaCluster, File: "services", Select: trace.Selector{Namespace: "a"}}, "kubectl get services -A -o json"},
		{trace.Query{Area: trace.AreaNode, Name: "n1", File: "iptables-save.txt"}, "iptables-save -c   # on node n1"},
		{trace.Query{Area: trace.AreaProxy, Namespace: "ns", Name: "p", File: "config_dump.json"}, "kubectl -n ns exec p -c istio-proxy -- pilot-agent request GET 'config_dump?include_eds'"},
		{trace.Query{Area: trace.AreaDNS, Name: "a.example"}, "dig +noall +answer a.example A a.example AAAA"},
	} {
		_, err := s.Observe(t.Context(), c.q)
		var nr *trace.NotReadError
		if !errors.As(err, &nr) || nr.Why != "not in the snapshot" || nr.Command != c.want {
			t.Errorf("%s: %v, %q", c.q.Path(), err, nr.Command)
		}
	}
}

func TestHostileAndBrokenArchivesAreRefused(t *testing.T) {
	good := entry{name: "snapshot.json", body: meta}
	big := strings.Repeat("x", 3000)
	small := limits{entries: 5, file: 1 << 20, total: 2 << 20, ratio: 50, free: 1 << 10, memory: 1 << 10}
	for _, c := range []struct {
		name string
		data []byte
		want string
	}{
		{"a name that leads out", archive(t, true, good, entry{name: "../evil", body: "x"}), `entry "../evil" leads out of the folder`},
		{"a name that leads out in the middle", archive(t, true, good, entry{name: "a/../../evil", body: "x"}), "leads out of the folder"},
		{"an absolute name", archive(t, true, good, entry{name: "/etc/passwd", body: "x"}), "absolute name"},
		{"a name with backslashes", archive(t, true, good, entry{name: `..\evil`, body: "x"}), "backslash"},
		{"a drive letter", archive(t, true, good, entry{name: `C:evil`, body: "x"}), "absolute name"},
		{"a control character in a name", archive(t, true, good, entry{name: "a\x1b[2Jb", body: "x"}), `entry "a\x1b[2Jb" has no proper name`},
		{"a symbolic link", archive(t, true, good, entry{name: "l", typ: tar.TypeSymlink, link: "/etc"}), `is a link to "/etc"`},
		{"a hard link", archive(t, true, good, entry{name: "l", typ: tar.TypeLink, link: "snapshot.json"}), "is a link"},
		{"a device", archive(t, true, good, entry{name: "d", typ: tar.TypeChar}), "neither a file nor a folder"},
		{"a pipe", archive(t, true, good, entry{name: "d", typ: tar.TypeFifo}), "neither a file nor a folder"},
		{"the same name twice", archive(t, true, good, good), "is there twice"},
		{"the same name twice in disguise", archive(t, true, good, entry{name: ".//snapshot.json", body: meta}), "is there twice"},
		{"a file below a file", archive(t, true, good, entry{name: "snapshot.json/x", body: "x"}), "which is a file"},
		{"a file that is a folder as well", archive(t, true, good, entry{name: "a/b", body: "x"}, entry{name: "a", body: "x"}), "is there twice"},
		{"a large file", archive(t, true, good, entry{name: "z", size: 1<<20 + 1}), "larger than 1 MiB"},
		{"a bomb", archive(t, true, good, entry{name: "z", size: 1 << 20}), "unpacks to more than 50 times its size"},
		{"files that are too large together", archive(t, false, good, entry{name: "a", size: 1 << 20}, entry{name: "b", size: 1 << 20}, entry{name: "c", size: 1 << 20}), "unpacks to more than 2 MiB"},
		{"too many entries", archive(t, true, good, entry{name: "1"}, entry{name: "2"}, entry{name: "3"}, entry{name: "4"}, entry{name: "5"}), "more than 5 entries"},
		{"an archive cut off", archive(t, true, good, entry{name: "a", body: big})[:80], "cut off in the middle"},
		{"a tar cut off", archive(t, false, good, entry{name: "a", body: big})[:2500], "cut off in the middle"},
		{"no archive", []byte("hello"), "neither a folder nor a .tar.gz"},
		{"an empty file", nil, "neither a folder nor a .tar.gz"},
		{"an empty archive", archive(t, true), "an empty archive"},
		{"broken gzip", []byte("\x1f\x8b\x08garbage-garbage"), "broken"},
		{"no snapshot.json", archive(t, true, entry{name: "README.md", body: "x"}), notOne},
		{"a format to come", archive(t, true, entry{name: "snapshot.json", body: `{"format":"hoptrail.snapshot/v9"}`}), `snapshot.json: format is "hoptrail.snapshot/v9"; this version reads "hoptrail.snapshot/v1"`},
		{"no format", archive(t, true, entry{name: "snapshot.json", body: `{}`}), "format is not given"},
		{"a format that is no text", archive(t, true, entry{name: "snapshot.json", body: `{"format":{"a":1}}`}), `format is {"a":1}`},
		{"a broken snapshot.json", archive(t, true, entry{name: "snapshot.json", body: "{\n \"format\": ?"}), "snapshot.json:2:12: broken JSON"},
		{"a time that is none", archive(t, true, entry{name: "snapshot.json", body: `{"format":"hoptrail.snapshot/v1","collected_at":"yesterday"}`}), "snapshot.json"},
	} {
		t.Run(c.name, func(t *testing.T) {
			s, err := read("x.tar.gz", c.data, small)
			var in *trace.InputError
			if !errors.As(err, &in) {
				t.Fatalf("opened: %v, %v", s, err)
			}
			if !strings.Contains(err.Error(), c.want) || !strings.HasPrefix(err.Error(), "x.tar.gz") {
				t.Errorf("%v, want %q", err, c.want)
			}
		})
	}
}

func TestWhatIsStrangeButHarmlessIsRead(t *testing.T) {
	for _, c := range []struct {
		name string
		data []byte
	}{
		{"a dot before the names", archive(t, true, entry{name: "./", typ: tar.TypeDir}, entry{name: "./snapshot.json", body: meta}, entry{name: "./cluster/pods.json", body: "{}"})},
		{"all in one folder", archive(t, true, entry{name: "ticket/snapshot.json", body: meta}, entry{name: "ticket/cluster/pods.json", body: "{}"})},
		{"other files beside", archive(t, true, entry{name: "README.md"}, entry{name: "expect.json", body: "x"}, entry{name: "snapshot.json", body: meta}, entry{name: "cluster/pods.json", body: "{}"})},
		{"not compressed", archive(t, false, entry{name: "snapshot.json", body: meta}, entry{name: "cluster/pods.json", body: "{}"})},
		{"a file packed by itself", archive(t, true, entry{name: "snapshot.json", body: meta}, entry{name: "cluster/pods.json.gz", body: gzipped(t, "{}")})},
		{"fields to come", archive(t, true, entry{name: "snapshot.json", body: `{"format":"hoptrail.snapshot/v1","later":[1]}`}, entry{name: "cluster/pods.json", body: "{}"})},
	} {
		t.Run(c.name, func(t *testing.T) {
			s, err := Read("x", c.data)
			if err != nil {
				t.Fatal(err)
			}
			obs, err := s.Observe(t.Context(), trace.Query{Area: trace.AreaCluster, File: "pods"})
			if err != nil || string(obs.Data) != "{}" {
				t.Errorf("%q, %v", obs.Data, err)
			}
		})
	}
}

func TestALargeArchiveIsReadFromATemporaryFileThatIsGoneAfterwards(t *testing.T) {
	tmp := t.TempDir()
	t.Setenv("TMPDIR", tmp)
	lim := defaultLimits
	lim.memory = 100
	s, err := read("x", worldBytes(t, "bookinfo"), lim)
	if err != nil {
		t.Fatal(err)
	}
	obs, err := s.Observe(t.Context(), trace.Query{Area: trace.AreaCluster, File: "pods"})
	if err != nil || !bytes.HasPrefix(bytes.TrimSpace(obs.Data), []byte("{")) {
		t.Errorf("%v", err)
	}
	s.Close()
	if left, _ := os.ReadDir(tmp); len(left) > 0 {
		t.Errorf("left behind: %v", left)
	}
}

func TestAFolderWithALinkIsRefused(t *testing.T) {
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "snapshot.json"), []byte(meta), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink("/etc/passwd", filepath.Join(dir, "dns.json")); err != nil {
		t.Skip(err)
	}
	if _, err := Open(dir); err == nil || !strings.Contains(err.Error(), "is a link") {
		t.Error(err)
	}
}

func TestAPathThatIsNoSnapshotSaysSo(t *testing.T) {
	if _, err := Open(filepath.Join(t.TempDir(), "nothing")); err == nil || !strings.Contains(err.Error(), "no such file") {
		t.Error(err)
	}
	if _, err := Open(t.TempDir()); err == nil || !strings.Contains(err.Error(), notOne) {
		t.Error(err)
	}
}
