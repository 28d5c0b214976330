module github.com/hoptrail/hoptrail/lab

go 1.26.0

require (
	github.com/miekg/dns v1.1.73
	golang.org/x/sys v0.47.0
	sigs.k8s.io/yaml v1.6.0
)

require (
	go.yaml.in/yaml/v2 v2.4.2 // indirect
	golang.org/x/net v0.57.0 // indirect
)
