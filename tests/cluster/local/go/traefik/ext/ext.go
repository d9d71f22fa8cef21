// Package ext stands for the extension point of Traefik's dynamic configuration,
// a nested module that has no release: two structs without fields, as upstream's own.
package ext

// HTTP extends the HTTP section.
type HTTP struct{}

// Router extends one router.
type Router struct{}
