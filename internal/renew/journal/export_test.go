package journal

// Abandon ends this process's hold on a journal as its death would: the kernel
// closes the file.
func Abandon(j Adopted) {
	f := j.(*file)
	f.flushing.Lock()
	defer f.flushing.Unlock()
	f.mu.Lock()
	defer f.mu.Unlock()
	_ = f.file.Close()
}
