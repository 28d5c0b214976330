package accesslog

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"errors"
	"io"
	"os"
	"path"
	"path/filepath"
	"strings"
	"testing"
)

// TestEveryLineOfTheWorldsLogsIsReadInItsProxysOwnFormat takes each access.log
// of each world and the format of the config_dump beside it: a line is read, or
// is named as something else.
func TestEveryLineOfTheWorldsLogsIsReadInItsProxysOwnFormat(t *testing.T) {
	archives, err := filepath.Glob(filepath.Join("..", "..", "testdata", "worlds", "*", "*.tar.gz"))
	if err != nil || len(archives) < 60 {
		t.Fatal(len(archives), err)
	}
	logs, read, named := 0, 0, 0
	for _, archive := range archives {
		files := map[string][]byte{}
		raw, err := os.ReadFile(archive)
		if err != nil {
			t.Fatal(err)
		}
		z, err := gzip.NewReader(bytes.NewReader(raw))
		if err != nil {
			t.Fatal(archive, err)
		}
		for r := tar.NewReader(z); ; {
			h, err := r.Next()
			if errors.Is(err, io.EOF) {
				break
			}
			if err != nil {
				t.Fatal(archive, err)
			}
			if base := path.Base(h.Name); base == "access.log" || base == "config_dump.json" {
				if files[path.Clean(h.Name)], err = io.ReadAll(r); err != nil {
					t.Fatal(archive, err)
				}
			}
		}
		for name, log := range files {
			if path.Base(name) != "access.log" {
				continue
			}
			logs++
			p := NewParser()
			if dump := files[path.Dir(name)+"/config_dump.json"]; dump != nil {
				loggers, err := FromConfigDump(dump)
				if err != nil {
					t.Fatal(archive, name, err)
				}
				p = NewParser(Formats(loggers)...).Detecting()
			}
			for e, err := range p.Read(bytes.NewReader(log)) {
				switch {
				case err != nil:
					t.Fatal(archive, name, err)
				case e.OK():
					read++
				case e.Why == "" || strings.HasPrefix(e.Why, "no known layout"):
					t.Errorf("%s %s:%d: %s\n%s", archive, name, e.Line, e.Why, e.Raw)
				default:
					named++
				}
			}
		}
	}
	t.Logf("%d logs: %d lines read, %d named as something else", logs, read, named)
	if logs < 20 || read < 80 {
		t.Errorf("%d logs and %d lines read", logs, read)
	}
}
