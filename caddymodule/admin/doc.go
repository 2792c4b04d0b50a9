// Package admin holds the administration API and the command line, which asks it.
package admin
