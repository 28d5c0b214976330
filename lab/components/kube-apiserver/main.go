// Command kube-apiserver is Kubernetes' own, built from its module.
package main

import (
	"os"
	_ "time/tzdata" // as upstream: CronJob time zones

	"k8s.io/component-base/cli"
	"k8s.io/kubernetes/cmd/kube-apiserver/app"
)

func main() {
	os.Exit(cli.Run(app.NewAPIServerCommand()))
}
