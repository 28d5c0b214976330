package accesslog

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"errors"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

func TestLoggersOfAConfigDump(t *testing.T) {
	const dump = `{"configs":[
	 {"@type":"x.BootstrapConfigDump","bootstrap":{"admin":{"access_log":[{"name":"admin"}]}}},
	 {"@type":"type.googleapis.com/envoy.admin.v3.ListenersConfigDump",
	  "static_listeners":[{"listener":{"address":{"socket_address":{"address":"0.0.0.0","port_value":15090}},
	    "filter_chains":[{"filters":[{"typed_config":{"access_log":[{"name":"a","typed_config":{"@type":"x.FileAccessLog","path":"/dev/null"}}]}}]}]}}],
	  "dynamic_listeners":[{"name":"n","active_state":{"listener":{"name":"n","address":{"socket_address":{"address":"::","port_value":80}},
	    "access_log":[{"name":"b","typed_config":{"@type":"x.StdoutAccessLog"}}],
	    "filter_chains":[{"filters":[{"typed_config":{"access_log":[{"name":"c","typed_config":{"@type":"x.StdoutAccessLog"}},{"name":"d","typed_config":{"@type":"x.FileAccessLog","path":"/dev/stdout","format":"%RESPONSE_CODE%"}}]}}]}]}}}]},
	 {"@type":"type.googleapis.com/envoy.admin.v3.RoutesConfigDump","listener":{"access_log":[{"name":"no"}]}}
	]}`
	loggers, err := FromConfigDump([]byte(dump))
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, l := range loggers {
		got = append(got, l.Listener+" "+l.Address+" "+l.Name)
	}
	want := []string{"0.0.0.0:15090 0.0.0.0:15090 a", "n [::]:80 b", "n [::]:80 c", "n [::]:80 d"}
	if !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
	if formats := Formats(loggers); len(formats) != 2 || formats[0].Name() != "Envoy default" || formats[1].String() != "%RESPONSE_CODE%" {
		t.Errorf("formats are %v", formats)
	}
	for _, c := range []struct{ name, dump, want string }{
		{"nothing", "", "end of JSON input at offset 0"},
		{"cut off", dump[:400], "offset 400"},
		{"no JSON", "hello", "offset 0"},
		{"something else", `{"a":1}`, "without configs"},
		{"a list", `[]`, "offset 0"},
	} {
		if _, err := FromConfigDump([]byte(c.dump)); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, want it to say %q", c.name, err, c.want)
		}
	}
}

// The loggers of real systems' dumps are all understood, and what their formats
// print is read back.
func TestLoggersOfRealConfigDumps(t *testing.T) {
	dir := filepath.Join("..", "..", "..", "shared", "corpus", "real", "config_dump")
	if _, err := os.Stat(dir); err != nil {
		t.Skip("the corpus of real systems is not beside the repository:", err)
	}
	// Of each dump with loggers: how many, and the names of their formats.
	want := map[string]struct {
		loggers int
		formats string
	}{
		"envoy-1.14-marathon-pretty.json":        {2, ""},
		"envoy-1.37-wg-ai-gateway.json":          {1, "Envoy default"},
		"envoy-gateway-1.26-in.json":             {2, "Envoy default"},
		"istio-2024-compare-envoy.json":          {1, "Istio text"},
		"istio-old-compare-envoyconfigdump.json": {1, "Envoy default"},
		"osm-curl-permissive.json":               {2, "custom JSON"},
		"osm-httpbin1-permissive.json":           {4, "custom JSON"},
		"osm-httpbin2-permissive.json":           {4, "custom JSON"},
	}
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, entry := range entries {
		t.Run(entry.Name(), func(t *testing.T) {
			b, err := os.ReadFile(filepath.Join(dir, entry.Name()))
			if err != nil {
				t.Fatal(err)
			}
			loggers, err := FromConfigDump(b)
			if err != nil {
				t.Fatal(err)
			}
			var names []string
			for _, f := range Formats(loggers) {
				names = append(names, f.Name())
				checkRoundTrip(t, f, 5, 50)
			}
			for _, l := range loggers {
				if l.InLog != (l.Format != nil) || l.Listener == "" {
					t.Errorf("%+v", l)
				}
			}
			w := want[entry.Name()]
			if len(loggers) != w.loggers || strings.Join(names, ", ") != w.formats {
				t.Errorf("%q: {%d, %q},", entry.Name(), len(loggers), strings.Join(names, ", "))
			}
		})
	}
}

// Each proxy's own configuration reads each line it wrote.
func TestTheConfigDumpsOfTheWorldsReadTheirLogs(t *testing.T) {
	worlds, err := filepath.Glob(filepath.Join("..", "..", "testdata", "worlds", "*", "*.tar.gz"))
	if err != nil || len(worlds) < 50 {
		t.Fatalf("%d worlds, %v", len(worlds), err)
	}
	read := 0
	for _, world := range worlds {
		files := untar(t, world)
		for name, log := range files {
			dir, ok := strings.CutSuffix(name, "/access.log")
			if !ok || len(log) == 0 {
				continue
			}
			loggers, err := FromConfigDump(files[dir+"/config_dump.json"])
			if err != nil {
				t.Fatalf("%s: %s: %v", world, dir, err)
			}
			formats := Formats(loggers)
			for e, err := range NewParser(formats...).Read(bytes.NewReader(log)) {
				if err != nil {
					t.Fatal(err)
				}
				if !e.OK() {
					t.Errorf("%s: %s:%d: %s", world, name, e.Line, e.Why)
					continue
				}
				read++
			}
		}
	}
	if read < 80 {
		t.Errorf("%d lines read, want 80 or more", read)
	}
}

// untar reads the access logs and config_dumps of a world.
func untar(t *testing.T, path string) map[string][]byte {
	t.Helper()
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	z, err := gzip.NewReader(f)
	if err != nil {
		t.Fatal(err)
	}
	files := map[string][]byte{}
	for r := tar.NewReader(z); ; {
		h, err := r.Next()
		if errors.Is(err, io.EOF) {
			return files
		}
		if err != nil {
			t.Fatal(err)
		}
		if base := filepath.Base(h.Name); base != "access.log" && base != "config_dump.json" {
			continue
		}
		b, err := io.ReadAll(r)
		if err != nil {
			t.Fatal(err)
		}
		files[h.Name] = b
	}
}
