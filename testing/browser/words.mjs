// The visible names that the walk looks for, as an operator reads them. They stand here once more, apart from the catalogues,
// so that a word that changes there is noticed.
export const WORDS = {
  en: {
    tag: "en",
    sections: "Sections", pages: "Pages of this section",
    status: "Status", configuration: "Configuration", maintenance: "Maintenance",
    unified: "Unified Communications", servers: "Servers", history: "History of the configuration", mode: "Maintenance mode",
    newDomain: "New domain", add: "Add", notSaved: "Nothing has been saved. What you have entered is still here; what cannot be used is marked.",
    noDomain: /is no host name/,
    planTitle: "What would change", planAbout: "Nothing has changed yet.", planSettings: ["Setting", "Now", "Then", "What it takes"],
    impacts: ["Nothing: it holds at once", "Holds for new connections", "A listener is drained", "Holds after a restart of the service"],
    comment: "Comment", confirmWithin: "Goes back by itself unless it is confirmed within", twoMinutes: "2 min", apply: "Apply",
    holds: (n) => `Revision ${n} holds.`, waits: (n) => `Revision ${n} goes back by itself unless it is confirmed before`,
    confirm: "Confirm", confirmed: "Confirmed: it stays.", rollBack: (n) => `Roll back to revision ${n}`, changedBy: (n) => `Changes of revision ${n}`,
    advanced: "Advanced", save: "Save", on: "On", off: "Off",
    // The source's figure 2.
    pathHeaders: "SIP Path headers", refreshInterval: "Credentials refresh interval (minutes)", cleanupInterval: "Credentials cleanup interval (minutes)",
    authorizations: "Maximum authorizations per period", ratePeriod: "Rate control period (seconds)", stun: "STUN keepalive",
    allowList: "Configure HTTP server allow list.", automaticRules: "See automatic inbound rules.",
    wrongNumber: (least, most) => `Enter a whole number from ${least} to ${most}.`,
    addServer: "Add server", product: "Product", unity: "Unity Connection", address: "Address (host, or host:port)", user: "Application user",
    password: "Password", ca: "File of trusted certificates (empty: the system's)", remove: (name) => `Remove ${name}`,
    discover: "Discover", refresh: "Refresh servers", reading: /^The servers are being read: \d of \d\./, previewed: "This is what a refresh would change. Nothing has changed yet.",
    take: "Take these changes", done: /^Done in [\d,]+ ms\. Nobody was interrupted\.$/, failed: "Failed", active: "Active",
    nodeNew: (node) => `node ${node} is new`, nodeGone: (node) => `node ${node} is gone`,
    start: "Start maintenance mode", cancel: "Cancel maintenance mode", deadline: "Deadline (minutes)", keep: "Stays on when the service restarts",
    alone: "No other node serves in its place: while it is in maintenance mode, nobody new can register, call or sign in.",
    draining: (n) => `Draining (${n})`, drained: "Inactive (Maintenance mode)",
    left: (calls, chats, registrations) => `${calls} ${calls === 1 ? "call" : "calls"}, ${chats} ${chats === 1 ? "chat session" : "chat sessions"}, ${registrations} ${registrations === 1 ? "registration" : "registrations"}`,
    again: "Refresh", signOut: "Sign out",
    signIn: { title: "Sign in", name: "Name", password: "Password", go: "Sign in" },
  },
  ja: {
    tag: "ja",
    sections: "メニュー", pages: "このメニューのページ",
    status: "ステータス", configuration: "構成", maintenance: "メンテナンス",
    unified: "Unified Communications", servers: "サーバー", history: "構成の履歴", mode: "メンテナンスモード",
    newDomain: "新しいドメイン", add: "追加", notSaved: "保存されていません。入力した内容はそのまま残っています。使用できない項目に印が付いています。",
    noDomain: /ホスト名でも IP アドレスでもありません/,
    planTitle: "変更の内容", planAbout: "まだ何も変更されていません。", planSettings: ["設定", "現在", "変更後", "影響"],
    impacts: ["なし: すぐに有効になります", "新しい接続から有効になります", "リスナーが順次停止されます", "サービスの再起動後に有効になります"],
    comment: "コメント", confirmWithin: "確認されない場合に自動で戻すまでの時間", twoMinutes: "2 分", apply: "適用",
    holds: (n) => `リビジョン ${n} が有効です。`, waits: (n) => `リビジョン ${n} は、次の時刻までに確認されないと自動的に元に戻ります:`,
    confirm: "確認", confirmed: "確認しました。この構成が維持されます。", rollBack: (n) => `リビジョン ${n} にロールバック`, changedBy: (n) => `リビジョン ${n} の変更内容`,
    advanced: "詳細設定", save: "保存", on: "オン", off: "オフ",
    pathHeaders: "SIP Path ヘッダー", refreshInterval: "ログイン情報更新間隔 (分)", cleanupInterval: "ログイン情報削除間隔 (分)",
    authorizations: "期間あたりの最大認証", ratePeriod: "レートコントロール期間 (秒)", stun: "STUN キープアライブ",
    allowList: "HTTP サーバー許可リストを構成します。", automaticRules: "自動インバウンドルールを表示します。",
    wrongNumber: (least, most) => `${least} から ${most} までの整数を入力してください。`,
    addServer: "サーバーを追加", product: "製品", unity: "Unity Connection", address: "アドレス (ホスト、または ホスト:ポート)", user: "アプリケーションユーザー",
    password: "パスワード", ca: "信頼する証明書のファイル (空: システムのもの)", remove: (name) => `${name} を削除`,
    discover: "検出", refresh: "サーバーを更新", reading: /^サーバーを読み取り中です: \d 台中 \d 台完了。/, previewed: "更新によって変わる内容です。まだ何も変更されていません。",
    take: "これらの変更を反映", done: /^[\d,]+ ms で完了しました。中断はありません。$/, failed: "失敗", active: "アクティブ",
    nodeNew: (node) => `ノード ${node} が追加されました`, nodeGone: (node) => `ノード ${node} がなくなりました`,
    start: "メンテナンスモードを開始", cancel: "メンテナンスモードを解除", deadline: "期限 (分)", keep: "サービスの再起動後も続ける",
    alone: "代わりに動作するノードがありません。メンテナンスモードの間、新しい登録、通話、サインインはできません。",
    draining: (n) => `ドレイン中（${n}）`, drained: "非アクティブ（メンテナンスモード）",
    left: (calls, chats, registrations) => `通話 ${calls} 件、チャットセッション ${chats} 件、登録 ${registrations} 件`,
    again: "更新", signOut: "サインアウト",
    signIn: { title: "サインイン", name: "名前", password: "パスワード", go: "サインイン" },
  },
};

/** What a node in maintenance mode shows once nobody is served there any more: the rows and words of the source's figure. */
const EN = "Inactive (Maintenance mode)";
const JA = "非アクティブ（メンテナンスモード）";
export const FIGURE = {
  en: {
    core: [
      "Unified Communications status: Enabled",
      "Unified CM registrations: Configured but with errors",
      `  HTTP proxy service: ${EN}`, `  Port forwarding mesh: ${EN}`, `  Provisioning server: ${EN}`,
      "IM and Presence Service: Configured but with errors",
      `  XMPP router: ${EN}`, `  HTTP proxy service: ${EN}`, `  Port forwarding mesh: ${EN}`, `  Provisioning server: ${EN}`,
      "  Service requires an active connection to at least one IM & Presence server (Maintenance mode)",
      "XMPP Federation: Not configured", "Single Sign-On support: Not configured", "OAuth token with refresh: Not configured",
    ],
  },
  ja: {
    core: [
      "ユニファイドコミュニケーションのステータス: 有効",
      "Unified CM の登録: 構成済み、ただしエラーあり",
      `  HTTP プロキシサービス: ${JA}`, `  ポート転送メッシュ: ${JA}`, `  プロビジョニングサーバー: ${JA}`,
      "IM and Presence Service: 構成済み、ただしエラーあり",
      `  XMPP ルーター: ${JA}`, `  HTTP プロキシサービス: ${JA}`, `  ポート転送メッシュ: ${JA}`, `  プロビジョニングサーバー: ${JA}`,
      "  このサービスには、少なくとも 1 台の IM & Presence サーバーへのアクティブな接続が必要です（メンテナンスモード）",
      "XMPP フェデレーション: 未構成", "シングルサインオンのサポート: 未構成", "OAuth トークンと更新: 未構成",
    ],
  },
};
// An edge has the same rows, but for what the cores decide.
const edge = (rows, word) => rows.map((row, at) => (at >= rows.length - 2 ? `${row.slice(0, row.indexOf(":"))}: ${word}` : row));
FIGURE.en.edge = edge(FIGURE.en.core, "Set at the cores");
FIGURE.ja.edge = edge(FIGURE.ja.core, "コアで設定");
