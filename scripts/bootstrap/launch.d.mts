export declare function launch(argv: readonly string[], env: NodeJS.ProcessEnv): Promise<number>;
