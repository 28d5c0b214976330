// Command grow writes a large config_dump made of a smaller one to standard
// output:
//
//	go run ./envoyadmin/internal/scale/grow 5 testdata/scale/gateway-1000.config_dump.json.gz > 201mb.json
//
// It must not know more of dumps than package scale.
package main

import (
	"bytes"
	"compress/gzip"
	"fmt"
	"io"
	"os"
	"strconv"

	"github.com/hoptrail/hoptrail/envoyadmin/internal/scale"
)

func main() {
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "grow:", err)
		os.Exit(2)
	}
}

func run(args []string) error {
	if len(args) != 2 {
		return fmt.Errorf("usage: grow TIMES FILE")
	}
	times, err := strconv.Atoi(args[0])
	if err != nil {
		return err
	}
	raw, err := os.ReadFile(args[1])
	if err != nil {
		return err
	}
	if bytes.HasPrefix(raw, []byte{0x1f, 0x8b}) {
		z, err := gzip.NewReader(bytes.NewReader(raw))
		if err != nil {
			return err
		}
		if raw, err = io.ReadAll(z); err != nil {
			return err
		}
	}
	out, err := scale.Grow(raw, times)
	if err != nil {
		return err
	}
	_, err = os.Stdout.Write(out)
	return err
}
