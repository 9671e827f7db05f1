use super::stage::*;

#[test]
fn plain() {
    let mut script = bound();
    let message = "<message to='bob@example.com'><body>hello</body></message>";
    script.push((client(message), vec![s(message)]));
    script.push((server(message), vec![c(message)]));
    script.push((client(" "), vec![s(" ")]));
    script.push((server("\n"), vec![c("\n")]));
    script.push((client(CLOSE), vec![s(CLOSE)]));
    script.push((server(CLOSE), vec![c(CLOSE), w("close server"), w("end closed")]));
    play(&script);
}
