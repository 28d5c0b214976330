package lab

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// Versions of the programs a lab is made of.
const (
	KubernetesVersion = "v1.35.4"
	KwokVersion       = "v0.8.0"
)

// Install puts the programs that are missing into bin: kube-apiserver and
// kube-proxy are built from source, the folder components of the lab's module;
// kwok likewise; etcd is taken from PATH or from the distribution's package,
// which is unpacked and not installed, so that no service starts.
// On two cores it takes about five minutes the first time.
func Install(ctx context.Context, source, bin string, log func(string, ...any)) error {
	bin, err := filepath.Abs(bin)
	if err != nil {
		return err
	}
	if err := os.MkdirAll(bin, 0o755); err != nil {
		return err
	}
	if !exists(bin, "etcd") {
		log("etcd: unpacking")
		if err := installEtcd(ctx, bin); err != nil {
			return fmt.Errorf("etcd: %w", err)
		}
	}
	if !exists(bin, "kwok") {
		log("kwok %s: building", KwokVersion)
		if err := build(ctx, "", []string{"GOBIN=" + bin}, "install", "-ldflags=-s -w", "sigs.k8s.io/kwok/cmd/kwok@"+KwokVersion); err != nil {
			return err
		}
	}
	major, minor, _ := strings.Cut(strings.TrimPrefix(KubernetesVersion, "v"), ".")
	minor, _, _ = strings.Cut(minor, ".")
	const version = " -X k8s.io/component-base/version."
	flags := "-ldflags=-s -w" + version + "gitVersion=" + KubernetesVersion + version + "gitMajor=" + major + version + "gitMinor=" + minor
	var wanted []string
	for _, name := range []string{"kube-proxy", "kube-apiserver"} {
		if !exists(bin, name) {
			wanted = append(wanted, "./"+name)
		}
	}
	if len(wanted) > 0 {
		// In one go: one is linked while the other is compiled.
		log("%s %s: building", strings.ReplaceAll(strings.Join(wanted, " and "), "./", ""), KubernetesVersion)
		if err := build(ctx, filepath.Join(source, "components"), nil, append([]string{"build", flags, "-o", bin + "/"}, wanted...)...); err != nil {
			return err
		}
	}
	return nil
}

func exists(bin, name string) bool {
	_, err := os.Stat(filepath.Join(bin, name))
	return err == nil
}

func build(ctx context.Context, dir string, env []string, args ...string) error {
	cmd := exec.CommandContext(ctx, "go", args...)
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), append(env, "CGO_ENABLED=0")...)
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("go %s: %w\n%s", strings.Join(args, " "), err, out)
	}
	return nil
}

func installEtcd(ctx context.Context, bin string) error {
	if found, err := exec.LookPath("etcd"); err == nil {
		os.Remove(filepath.Join(bin, "etcd")) // a link to one that is gone
		return os.Symlink(found, filepath.Join(bin, "etcd"))
	}
	dir, err := os.MkdirTemp("", "etcd-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	apt := func(args ...string) error {
		cmd := exec.CommandContext(ctx, "apt-get", args...)
		cmd.Dir = dir
		if out, err := cmd.CombinedOutput(); err != nil {
			return fmt.Errorf("apt-get %s: %w: %s", strings.Join(args, " "), err, bytes.TrimSpace(out))
		}
		return nil
	}
	// A fresh machine has no list of packages, and an old one a list of packages
	// that are no longer there.
	if apt("download", "-qq", "etcd-server") != nil {
		stale := apt("update", "-qq")
		if err := apt("download", "-qq", "etcd-server"); err != nil {
			return fmt.Errorf("%w (or put etcd into %s yourself)", errors.Join(stale, err), bin)
		}
	}
	debs, _ := filepath.Glob(filepath.Join(dir, "*.deb"))
	if len(debs) != 1 {
		return fmt.Errorf("apt-get download etcd-server: no package came")
	}
	if err := run(ctx, "dpkg-deb", "-x", debs[0], dir); err != nil {
		return err
	}
	data, err := os.ReadFile(filepath.Join(dir, "usr", "bin", "etcd"))
	if err != nil {
		return err
	}
	whole := filepath.Join(bin, "etcd.new")
	if err := os.WriteFile(whole, data, 0o755); err != nil {
		return err
	}
	return os.Rename(whole, filepath.Join(bin, "etcd"))
}
