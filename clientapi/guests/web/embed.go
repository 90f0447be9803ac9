// Package web is the page for guests, and for members without a client.
package web

import "embed"

// Dist is what make built, in the folder dist: of each file one compressed by brotli, .br, and one by gzip, .gz. There is no page in it, only
// .gitkeep, in a tree where it has not been built.
//
//go:embed all:dist
var Dist embed.FS
