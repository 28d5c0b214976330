// Package k8s is a typed view of Kubernetes API lists.
package k8s
