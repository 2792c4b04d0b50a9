package main

import (
	"cmp"
	"fmt"
	"regexp"
	"slices"
	"strings"
)

// report says what came of all lines.
func report(apis []*api) string {
	var b strings.Builder
	fmt.Fprintf(&b, "%-28s%6s%9s%9s\n", "method", "lines", "covered", "share")
	methods := map[string][]*api{}
	for _, a := range apis {
		methods[a.method] = append(methods[a.method], a)
	}
	for _, method := range byCount(methods) {
		writeShare(&b, cmp.Or(method, "(none)"), methods[method])
	}
	writeShare(&b, "all", apis)
	gaps, omitted := map[string][]*api{}, map[string][]*api{}
	for _, a := range apis {
		for _, gap := range a.gaps {
			gap = place.ReplaceAllString(gap, "")
			if !slices.Contains(gaps[gap], a) {
				gaps[gap] = append(gaps[gap], a)
			}
		}
		for _, fact := range a.omitted {
			if len(a.gaps) == 0 {
				omitted[fact] = append(omitted[fact], a)
			}
		}
	}
	b.WriteString("\nNot covered:\n")
	writeGroups(&b, gaps)
	b.WriteString("\nLeft out of account, of lines that are covered:\n")
	writeGroups(&b, omitted)
	return b.String()
}

func writeShare(b *strings.Builder, name string, apis []*api) {
	covered := 0
	for _, a := range apis {
		if len(a.gaps) == 0 {
			covered++
		}
	}
	fmt.Fprintf(b, "%-28s%6d%9d%7.1f %%\n", name, len(apis), covered, 100*float64(covered)/float64(max(1, len(apis))))
}

// place is where in a Caddyfile something is wrong, which tells a line from others of its
// kind.
var place = regexp.MustCompile(`, at Caddyfile:\d+.*`)

func writeGroups(b *strings.Builder, groups map[string][]*api) {
	for _, reason := range byCount(groups) {
		fmt.Fprintf(b, "%4d  %s\n     ", len(groups[reason]), reason)
		for _, a := range groups[reason] {
			b.WriteString(" " + cmp.Or(a.id, "(no id)"))
		}
		b.WriteByte('\n')
	}
}

// byCount returns the names of groups, the largest first.
func byCount(groups map[string][]*api) []string {
	names := sorted(groups)
	slices.SortStableFunc(names, func(a, b string) int { return cmp.Compare(len(groups[b]), len(groups[a])) })
	return names
}
